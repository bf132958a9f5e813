"""Every Triton kernel compiled as a launch would compile it, with each integer argument at values
Triton treats apart.

    python -m diffengine.bench.aot_arguments [sm_90] [each]

Triton makes an integer argument of 1 a constant of the kernel, and notes of others whether 16
divides them. A kernel that uses such an argument as a tensor then does not compile, and nobody
notices before that value comes: `--seed 1` did. So the integers are tried at 0, 1, 16 and an odd
number, all together and, with `each`, one at a time and in every variant of a kernel, through
Triton's own launch path for a GPU that is not there. One JSON line a kernel and value; exit code 1
where one does not compile. Shows nothing of what a compiled kernel computes.
"""

from __future__ import annotations

import json
import sys
from typing import Any

from .aot import CASES, MODEL_DTYPE, TYPES, Case, kernel_of

VALUES = (0, 1, 16, 17)
SIMILAR = (
    "norm 4096",
    "stats",
    "stats+moments",
    "stats+kl",
)
"""Cases whose integers are used as in another case; tried under `each` alone."""
USUAL = 4096
"""What the other integers are while one is tried: ordinary, and a multiple of 16."""


class AbsentGpu:
    """The part of a Triton driver that compiling asks: which GPU it is for. There is none to launch
    on."""

    def __init__(self, arch: int) -> None:
        from triton.backends.compiler import GPUTarget

        self._target = GPUTarget("cuda", arch, 32)

    def get_current_target(self) -> Any:
        return self._target

    def get_current_device(self) -> int:
        return 0

    def get_current_stream(self, device: int) -> int:
        return 0


def cases_to_try(*, each: bool = False) -> list[Case]:
    """The cases of `aot`; without `each` one of those that use their integers alike."""
    return [case for case in CASES if each or case.name not in SIMILAR]


def integer_arguments(case: Case) -> list[str]:
    """The arguments of the case's kernel that a launch passes as integers, in order."""
    names = kernel_of(case).arg_names
    return [name for name in names if name not in case.constants and not _is_pointer(name)]


def error_of(case: Case, integers: dict[str, int]) -> str | None:
    """What compiling the case's kernel with these integers says; None where it compiles.

    Needs `AbsentGpu` as Triton's active driver. Integers that are not named are `USUAL`.
    """
    kernel = kernel_of(case)
    arguments = {
        name: _argument(case, name, integers)
        for name in kernel.arg_names
        if name not in case.constants
    }
    try:
        kernel.warmup(
            grid=(1,), num_warps=case.warps, enable_fp_fusion=True, **arguments, **case.constants
        )
    except Exception as error:  # whatever the compiler raises is the finding
        return f"{type(error).__name__}: {str(error).strip().splitlines()[-1]}"
    return None


def _is_pointer(name: str) -> bool:
    return name in MODEL_DTYPE or TYPES.get(name, "i32").startswith("*")


def _argument(case: Case, name: str, integers: dict[str, int]) -> Any:
    """An integer, or what stands for a tensor."""
    import torch
    from triton.runtime.jit import MockTensor

    if not _is_pointer(name):
        return integers.get(name, USUAL)
    types = {
        "bf16": torch.bfloat16,
        "fp32": torch.float32,
        "fp64": torch.float64,
        "i32": torch.int32,
        "i64": torch.int64,
        "u8": torch.uint8,
    }
    if name == "BEST" and case.constants.get("EXACT"):
        return MockTensor(torch.float64)
    return MockTensor(types[TYPES.get(name, f"*{case.logits}").removeprefix("*")])


def main(names: list[str]) -> int:
    """Try every case; returns the exit code."""
    from triton.runtime import driver

    failed = 0
    each = "each" in names
    architectures = [int(name.removeprefix("sm_")) for name in names if name != "each"]
    for arch in architectures or [90]:
        driver.set_active(AbsentGpu(arch))
        for case in cases_to_try(each=each):
            for values in _values_to_try(case, each=each):
                error = error_of(case, values)
                failed += error is not None
                row = {"kernel": case.name, "sm": arch, "integers": values, "error": error}
                sys.stdout.write(json.dumps(row) + "\n")
                sys.stdout.flush()
    return min(failed, 1)


def _values_to_try(case: Case, *, each: bool) -> list[dict[str, int]]:
    """Each integer argument alone, if asked for, then all of them together."""
    names = integer_arguments(case)
    values: list[dict[str, int]] = []
    if each:
        values += [{name: value} for name in names for value in VALUES]
    return values + [dict.fromkeys(names, value) for value in VALUES]


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
