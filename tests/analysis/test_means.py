"""Means with gaps against the plain loop, in one go and merged over blocks."""

from __future__ import annotations

import numpy as np
import pytest

from diffengine.analysis.compare.paired import paired_means
from diffengine.analysis.information.significance import max_t
from diffengine.analysis.means import MeanOverBlocks, centred, deviation, mean_over_problems
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


EQUAL = [0.1, 0.3, 1 / 3, 1 / 48, -0.7, 1e-300, 0.0]
"""Of the first few, three or twelve or a hundred have a mean that misses them."""


@pytest.mark.parametrize("value", EQUAL)
@pytest.mark.parametrize("n", [2, 3, 7, 12, 100])
def test_equal_numbers_have_no_spread_at_all(value: float, n: int) -> None:
    values = np.full((n, 2), value)
    with_gaps = np.concatenate([[[np.nan, np.inf]], values, [[np.nan, np.nan]]])
    blocks = MeanOverBlocks((2,))
    for first in range(0, n + 2, 13):
        blocks.add(with_gaps[first : first + 13])
    for mean in (mean_over_problems(values), mean_over_problems(with_gaps), blocks.result()):
        assert mean.mean.tolist() == [value, value]
        assert mean.stderr.tolist() == [0.0, 0.0]
        assert mean.n.tolist() == [n, n]
    assert not centred(values).any()
    assert deviation(values, ddof=1).tolist() == [0.0, 0.0]


@pytest.mark.parametrize("n", [3, 7, 12, 100])
def test_pairs_that_all_change_alike_have_no_interval_of_rounding(n: int) -> None:
    before = np.zeros(n)
    change = paired_means(before, before + 0.1)
    assert (change.difference, change.low, change.high, change.p) == (0.1, 0.1, 0.1, 0.0)


@pytest.mark.parametrize("constant", [0.1, -0.1, 0.3])
def test_a_step_without_variation_has_no_say_in_the_others_p(constant: float) -> None:
    values = np.random.default_rng(5).normal(0.0, 1.0, (100, 3))
    values[0] = [0.2, 2.0, 0.5]
    with_constant = np.insert(values, 1, constant, axis=1)
    assert max_t(with_constant)[[0, 2, 3]].tolist() == max_t(values).tolist()


@pytest.mark.parametrize("ddof", [0, 1])
def test_the_deviation_is_that_of_numpy(ddof: int) -> None:
    values = np.random.default_rng(3).normal(2.0, 1.0, (17, 3))
    np.testing.assert_allclose(deviation(values, ddof=ddof), values.std(axis=0, ddof=ddof))
    np.testing.assert_allclose(centred(values), values - values.mean(axis=0), atol=1e-15)


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
