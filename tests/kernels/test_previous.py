"""The step before, read and replaced: the same whether its places follow one another or lie
scattered."""

from __future__ import annotations

import pytest
import torch

from diffengine.kernels.previous import Previous

V = 9


@pytest.mark.parametrize("places", [[3], [2, 3, 4], [4, 3, 2], [0, 2, 3], [5, 0, 1]])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_reading_and_leaving(places: list[int], dtype: torch.dtype) -> None:
    held = torch.arange(6 * V).view(6, V).to(dtype)
    before = held.clone()
    previous = Previous(held, torch.arange(6).float(), torch.tensor([1, *places]))
    here = slice(1, 1 + len(places))
    logits, lse = previous.read(here)
    assert torch.equal(logits, before[places].float()) and lse.tolist() == places
    new = -torch.rand(len(places), V).to(dtype)
    previous.leave(here, new)
    before[places] = new
    assert torch.equal(held, before)
