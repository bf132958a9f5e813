"""Means with gaps against the plain loop, in one go and merged over blocks."""

from __future__ import annotations

import numpy as np
import pytest

from diffengine.analysis.means import MeanOverBlocks, mean_over_problems
from diffengine.analysis.quantity import Quantity


def gappy(problems: int, *shape: int, seed: int = 0) -> np.ndarray:
    rng = np.random.default_rng(seed)
    values = rng.normal(3.0, 1.0, (problems, *shape))
    values[rng.random(values.shape) < 0.3] = np.nan
    return values


def test_against_a_loop() -> None:
    values = gappy(9, 7)
    values[:, 2], values[1:, 3] = np.nan, np.nan
    values[0, 3] = 2.5
    mean, stderr, n = mean_over_problems(values)
    for step in range(7):
        kept = [v for v in values[:, step] if v == v]
        assert n[step] == len(kept)
        assert (
            np.isnan(mean[step]) if not kept else mean[step] == pytest.approx(sum(kept) / len(kept))
        )
        if len(kept) < 2:
            assert np.isnan(stderr[step])
        else:
            assert stderr[step] == pytest.approx(np.std(kept, ddof=1) / np.sqrt(len(kept)))


@pytest.mark.parametrize("size", [1, 2, 5, 40])
def test_blocks_give_the_same_as_all_at_once(size: int) -> None:
    values = gappy(40, 4, 3) * 1e-3 + 0.999
    merged = MeanOverBlocks((4, 3))
    for first in range(0, 40, size):
        merged.add(values[first : first + size])
    for got, expected in zip(merged.result(), mean_over_problems(values), strict=True):
        np.testing.assert_allclose(got, expected, rtol=1e-9)


def test_no_problem() -> None:
    mean = mean_over_problems(np.empty((0, 3)))
    assert np.isnan(mean.mean).all() and (mean.n == 0).all()
    assert np.isnan(MeanOverBlocks((3,)).result().mean).all()
    assert (
        Quantity.of_mean(mean, units="bits", label="x", missing="nothing").status
        == "insufficient: nothing"
    )


def test_adding_a_block_without_values_changes_nothing() -> None:
    merged = MeanOverBlocks((2,))
    merged.add(np.array([[1.0, 2.0], [3.0, 4.0]]))
    before = merged.result()
    merged.add(np.full((3, 2), np.nan))
    for got, expected in zip(merged.result(), before, strict=True):
        np.testing.assert_array_equal(got, expected)
