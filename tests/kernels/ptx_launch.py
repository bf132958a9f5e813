"""Stands in for the Triton kernels of `launch`: first notes what would be compiled, then runs the
compiled PTX."""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from ptx_machine import Machine, Memory, Program, contracted, parse
from torch import Tensor

from diffengine.kernels.triton_rows import launch

KERNELS = {"sweep": "sweep", "finish": "finish"}
OPTIONS = ("num_warps", "enable_fp_fusion", "maxnreg")
TYPES = {
    torch.float32: "*fp32", torch.bfloat16: "*bf16", torch.int64: "*i64", torch.int32: "*i32", torch.uint8: "*u8",
}  # fmt: skip


class Simulator:
    """The compiled kernels, and how their arithmetic is to be modelled."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.wanted: dict[str, dict[str, Any]] = {}
        self.programs: dict[str, Program] = {}
        self.noting = False
        self.ulps = 0
        self.contract = False
        self.executed: set[str] = set()

    def install(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """Put stand-ins in the place of `launch`'s kernels."""
        for function in KERNELS:
            monkeypatch.setattr(
                launch, function, _Kernel(self, function, getattr(launch, function).arg_names)
            )

    def prepare(self, calls: list[Callable[[], Any]]) -> None:
        """Compile what these calls would launch."""
        self.noting = True
        for call in calls:
            call()
        self.noting = False
        environment = os.environ | {"TRITON_CACHE_DIR": str(self.folder / "cache")}
        environment.pop("TRITON_INTERPRET", None)
        script = Path(__file__).with_name("ptx_compile.py")
        done = subprocess.run(
            [sys.executable, str(script), str(self.folder)],
            input=json.dumps(self.wanted), capture_output=True, text=True, env=environment, timeout=300,
        )  # fmt: skip
        assert done.returncode == 0, done.stderr
        self.programs = {
            key: parse((self.folder / f"{key}.ptx").read_text()) for key in self.wanted
        }

    def run(self, key: str, grid: tuple[int, int], arguments: list[Tensor | int]) -> None:
        """One launch; tensors that it wrote are changed in place."""
        memory = Memory(
            sum(a.nbytes for a in arguments if isinstance(a, Tensor)) + 1024 * len(arguments) + 1024
        )
        placed = []
        parameters = []
        for argument in arguments:
            if isinstance(argument, Tensor):
                data = _bytes(argument)
                address = memory.place(data)
                placed.append((argument, address, data))
                parameters.append(address)
            else:
                parameters.append(argument)
        program = contracted(self.programs[key]) if self.contract else self.programs[key]
        machine = Machine(program, memory, ulps=self.ulps)
        machine.launch(grid, parameters)
        self.executed |= machine.executed
        for tensor, address, data in placed:
            after = memory.read(address, data)
            if not np.array_equal(after, data):
                tensor.copy_(torch.from_numpy(after).view(tensor.dtype).reshape(tensor.shape))


class _Kernel:
    """What `kernel[grid](...)` does here."""

    def __init__(self, simulator: Simulator, function: str, names: list[str]) -> None:
        self.simulator, self.function, self.names = simulator, function, names

    def __getitem__(self, grid: tuple[int, ...]) -> Callable[..., None]:
        def start(*arguments: Tensor | int, **named: Any) -> None:
            options = {name: named.pop(name) for name in OPTIONS if name in named}
            values = dict(zip(self.names, arguments, strict=False)) | named
            constants = {
                n: v for n, v in values.items() if n in named or (isinstance(v, int) and v == 1)
            }
            rest = {n: v for n, v in values.items() if n not in constants}
            specification = {
                "module": KERNELS[self.function],
                "function": self.function,
                "names": self.names,
                "signature": {
                    n: "constexpr" if n in constants else _type(values[n]) for n in self.names
                },
                "constants": constants,
                "aligned": [n for n, v in rest.items() if isinstance(v, Tensor) or v % 16 == 0],
                "options": options,
            }
            key = hashlib.sha256(json.dumps(specification, sort_keys=True).encode()).hexdigest()[
                :16
            ]
            if self.simulator.noting:
                self.simulator.wanted[key] = specification
            else:
                self.simulator.run(key, (*grid, 1, 1)[:2], list(rest.values()))

        return start


def _type(value: Tensor | int) -> str:
    return TYPES[value.dtype] if isinstance(value, Tensor) else "i32"


def _bytes(tensor: Tensor) -> Any:
    assert tensor.is_contiguous()
    return (
        tensor.reshape(-1).view(torch.uint8).numpy().copy()
        if tensor.numel()
        else np.zeros(0, np.uint8)
    )
