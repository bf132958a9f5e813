"""LLaDA-MoE and RND1: the stock class computes the published network, alone and in a batch, and
decodes as a slow twin does."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from diffengine.engine.models.attention import packing_of
from diffengine.engine.models.loading import load_model

FAMILIES = ["LLaDA-MoE", "RND1"]
LENGTHS = [70, 33, 33, 91]


def packed_batch(lengths: list[int]) -> tuple[torch.Tensor, torch.Tensor]:
    ids = torch.randint(6, 500, (sum(lengths),), generator=torch.Generator().manual_seed(1))
    return ids, torch.cat([torch.arange(length) for length in lengths])


@pytest.mark.parametrize("family", FAMILIES)
def test_the_stock_class_computes_the_published_network(
    mixture: Callable[..., Path], published: Any, family: str
) -> None:
    path = mixture(family)
    model = load_model(path, device="cpu")
    ids, positions = packed_batch(LENGTHS)
    hidden = model.hidden(ids, positions, packing_of(LENGTHS, model.device))
    logits = hidden @ model.head_weight.T
    twin = published(path)
    for row, piece in zip(logits.split(LENGTHS), ids.split(LENGTHS), strict=True):
        torch.testing.assert_close(row.double(), twin.logits(piece), atol=1e-4, rtol=1e-4)
