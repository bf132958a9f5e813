"""The k largest of a row: a stable sort written out in Python, on rows where many logits are
equal."""

from __future__ import annotations

import math

import pytest
import torch

from diffengine.kernels.largest import largest


def slow(row: list[float], k: int) -> list[int]:
    """Python's sort is stable, so equal logits stay in the order of their ids."""
    return sorted(range(len(row)), key=lambda i: -row[i])[:k]


def rows(vocabulary: int) -> torch.Tensor:
    generator = torch.Generator().manual_seed(vocabulary)
    x = torch.randn(7, vocabulary, generator=generator)
    x[1] = (2 * x[1]).round()  # a handful of values
    x[2] = 3.0  # all equal
    x[3, ::2], x[3, 1::2] = 0.0, -0.0  # equal too
    x[4] = torch.where(x[4] > 0, -math.inf, -x[4].abs())
    x[5] = -math.inf
    x[6] = x[6] * 1e30
    return x


@pytest.mark.parametrize("k", [1, 2, 16, 33])
@pytest.mark.parametrize("vocabulary", [1, 7, 127, 128, 560, 5003])
def test_equal_logits_come_by_id(vocabulary: int, k: int) -> None:
    x, k = rows(vocabulary), min(k, vocabulary)
    assert largest(x, k).tolist() == [slow(row, k) for row in x.tolist()]
    assert torch.equal(largest(x.double(), k), largest(x, k))


def test_real_vocabularies_views_and_no_rows() -> None:
    x = rows(152064)[:3, :126464]
    assert largest(x, 16).tolist() == [slow(row, 16) for row in x.tolist()]
    assert largest(x[:0], 16).shape == (0, 16)
    assert torch.equal(largest(x[::2], 4), largest(x, 4)[::2])


def test_a_nan_counts_as_the_largest() -> None:
    x = rows(560)
    x[0, [500, 20]] = math.nan
    assert largest(x, 3)[0, :2].tolist() == [20, 500]
    assert largest(x, 3)[1:].tolist() == [slow(row, 3) for row in x[1:].tolist()]
