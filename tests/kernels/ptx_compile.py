"""Compiles kernels ahead of time as a launch on sm_90 would: reads specifications from stdin,
writes PTX to a folder.

A process of its own, because one that interprets kernels cannot compile them. A specification is
what triton's launcher derives from the arguments: a type for each, constants, which integers and
addresses 16 divides.
"""

from __future__ import annotations

import importlib
import json
import sys
from pathlib import Path
from typing import Any


def compile_one(specification: dict[str, Any]) -> str:
    """PTX of one kernel for sm_90."""
    import triton
    from triton.backends.compiler import GPUTarget
    from triton.compiler import ASTSource

    module = importlib.import_module(f"diffengine.kernels.triton_rows.{specification['module']}")
    kernel = getattr(module, specification["function"])
    names = kernel.arg_names
    assert names == specification["names"], names
    source = ASTSource(
        fn=kernel,
        signature=specification["signature"],
        constexprs={
            (names.index(name),): value for name, value in specification["constants"].items()
        },
        attrs={
            (names.index(name),): [["tt.divisibility", 16]] for name in specification["aligned"]
        },
    )
    compiled = triton.compile(
        source, target=GPUTarget("cuda", 90, 32), options=specification["options"]
    )
    return str(compiled.asm["ptx"])


if __name__ == "__main__":
    folder = Path(sys.argv[1])
    for key, wanted in json.load(sys.stdin).items():
        (folder / f"{key}.ptx").write_text(compile_one(wanted))
