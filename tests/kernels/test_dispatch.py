"""Who serves a tensor: never triton without need, and both sides of every entry take the same
parameters."""

from __future__ import annotations

import importlib
import inspect
import subprocess
import sys

import pytest
import torch

from diffengine.kernels import dispatch

ENTRIES = {
    "logit_stats": ("triton_rows.launch", {"tiles"}),
    "gumbel_argmax": ("triton_rows.gumbel", {"lanes"}),
    "token_probability": ("triton_rows.launch", set()),
    "add_rms_norm": ("triton_rows.layers", set()),
    "rotated": ("triton_rows.layers", set()),
    "gated": ("triton_rows.layers", set()),
}
"""Function: the module of its kernel, and what the kernel takes besides, with defaults."""


@pytest.mark.parametrize("name", ENTRIES)
def test_specification_and_kernel_take_the_same_parameters(name: str) -> None:
    module, more = ENTRIES[name]
    kernel = getattr(importlib.import_module(f"diffengine.kernels.{module}"), name)
    ours = inspect.signature(getattr(dispatch, name)).parameters
    theirs = {n: p for n, p in inspect.signature(kernel).parameters.items() if n not in more}
    assert list(ours.values()) == list(theirs.values())
    assert set(inspect.signature(kernel).parameters) - set(ours) == more


def test_every_entry_is_compared_above() -> None:
    served = {n for n, f in vars(dispatch).items() if getattr(f, "__wrapped__", None) is not None}
    assert served == set(ENTRIES)


def test_the_interpreter_serves_tensors_of_the_cpu_only_when_asked(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    asked: list[str] = []
    served = dispatch.by_device(
        lambda x, *, scale: asked.append("specification"), kernel="nowhere:at_all"
    )
    served(torch.zeros(1, 2), scale=1)
    assert asked == ["specification"]
    monkeypatch.setenv("TRITON_INTERPRET", "1")
    served(torch.zeros(1, 2, dtype=torch.float64), scale=1)
    assert asked == ["specification"] * 2
    with pytest.raises(ModuleNotFoundError, match="nowhere"):
        served(torch.zeros(1, 2), scale=1)


def test_triton_is_not_imported_for_a_tensor_of_the_cpu() -> None:
    code = (
        "import sys, torch; from diffengine.kernels.dispatch import gumbel_argmax, logit_stats, "
        "token_probability\n"
        "x, at = torch.randn(3, 9), torch.zeros(3, 3, dtype=torch.int64)\n"
        "stats = logit_stats(x, previous=x, topk=2)\n"
        "token_probability(x, gumbel_argmax(x, at, temperature=1.0, seed=1), stats.lse)\n"
        "assert 'triton' not in sys.modules"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
