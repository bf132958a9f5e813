"""The Triton kernels on this machine: compiled where there is a GPU, else through Triton's interpreter on the CPU.

Whether kernels are interpreted is decided when they are decorated. So the variable is set only while they are
imported, here, before anything else can import triton; the rest of the suite never sees it.
"""

from __future__ import annotations

import os
import sys
from typing import Any

import numpy as np
import pytest
import torch

INTERPRETED = not torch.cuda.is_available()


def _round_once(builder: Any, x: Any, y: Any, z: Any) -> Any:
    """A fused multiply-add as a GPU does it. The interpreter's own rounds the product too, which at an offset of 1e4
    is the fourth digit of every probability."""
    from triton.runtime.interpreter import TensorHandle

    wide = np.asarray(x.data, np.float64) * np.asarray(y.data, np.float64) + np.asarray(z.data, np.float64)
    return TensorHandle(wide.astype(x.data.dtype), z.dtype.scalar)


if INTERPRETED:
    assert "triton" not in sys.modules, "triton was imported before tests/kernels/conftest.py could choose how"
    os.environ["TRITON_INTERPRET"] = "1"
try:
    from diffengine.kernels import gumbel_kernel, launch  # noqa: F401

    if INTERPRETED:
        from triton.runtime.interpreter import InterpreterBuilder

        InterpreterBuilder.create_fma = _round_once
        launch.logit_stats(torch.zeros(1, 1), tiles=launch.Tiles(lanes=16))  # the first launch imports more of triton
finally:
    if INTERPRETED:
        del os.environ["TRITON_INTERPRET"]


@pytest.fixture
def device() -> torch.device:
    """Where the kernels' tensors lie."""
    return torch.device("cpu" if INTERPRETED else "cuda")


@pytest.fixture
def poisoned(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every output starts as NaN or -7, so what a kernel leaves unwritten shows."""
    empty = torch.empty

    def filled(*size: int, **options: object) -> torch.Tensor:
        made = empty(*size, **options)  # type: ignore[call-overload]
        return made.fill_(float("nan") if made.is_floating_point() else 249 if made.dtype == torch.uint8 else -7)

    monkeypatch.setattr(torch, "empty", filled)
