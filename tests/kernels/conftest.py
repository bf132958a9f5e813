"""The Triton kernels on this machine: compiled where there is a GPU, else through Triton's
interpreter on the CPU.

`tests/conftest.py` imports them, before any test module can import triton.
"""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
import torch

sys.path.append(
    str(Path(__file__).parent)
)  # for what the tests of the compiled kernels share: ptx_launch and the like

INTERPRETED = not torch.cuda.is_available()


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
        return made.fill_(
            float("nan") if made.is_floating_point() else 249 if made.dtype == torch.uint8 else -7
        )

    monkeypatch.setattr(torch, "empty", filled)
