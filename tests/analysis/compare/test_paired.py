"""Paired comparison: published worked examples, the coverage it promises, and what is left out."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from diffengine.analysis.compare.paired import Table, newcombe, paired_means, paired_shares


@pytest.mark.parametrize(
    ("table", "low", "high"),
    [
        # Bentur et al. (2009): Fagerland, Lydersen and Laake (2014), Stat. Med. 33, 2850, table of
        # intervals.
        (Table(1, 1, 7, 12), 0.026, 0.507),
    ],
)
def test_published_intervals(table: Table, low: float, high: float) -> None:
    assert newcombe(table) == pytest.approx((low, high), abs=6e-4)


def test_the_two_runs_of_the_report() -> None:
    """.88 against .825 on the same 200 problems: unpaired errors overlap, the pairs are 13 to 2."""
    first = np.r_[np.ones(165), np.zeros(35)]
    second = np.r_[np.ones(163), np.zeros(2), np.ones(13), np.zeros(22)]
    found = paired_shares(first, second)
    assert (found.n, found.only_first, found.only_second) == (200, 2, 13)
    assert found.difference == pytest.approx(0.055) and found.p == pytest.approx(2 * 121 / 2**15)
    assert 0 < found.low < found.difference < found.high


def test_pairs_coverage() -> None:
    """Over pairs with a common difficulty, the interval holds the true difference in about 95 % of
    2000 seeds."""
    rng = np.random.default_rng(1)
    probability = np.array([0.78, 0.03, 0.09, 0.10])
    tables = rng.multinomial(200, probability, 2000)
    inside = [
        low <= 0.06 <= high for low, high in (newcombe(Table(*map(int, row))) for row in tables)
    ]
    assert abs(np.mean(inside) - 0.95) < 0.015


def test_swapping_the_runs_swaps_the_sign() -> None:
    rng = np.random.default_rng(0)
    one, two = (rng.random((2, 90)) < [[0.8], [0.7]]).astype(float)
    there, back = paired_shares(one, two), paired_shares(two, one)
    assert (back.low, back.high) == pytest.approx((-there.high, -there.low)) and there.p == back.p


def test_equal_runs_differ_in_nothing() -> None:
    same = paired_shares(np.ones(50), np.ones(50))
    assert (same.difference, same.p) == (0, 1) and same.low < 0 < same.high
    still = paired_means(np.arange(5.0), np.arange(5.0))
    assert (still.difference, still.p) == (0, 1)


def test_means_are_students_and_leave_out_what_either_lacks() -> None:
    rng = np.random.default_rng(3)
    one, two = rng.normal(size=(2, 30))
    one[3], two[4] = np.nan, np.nan
    kept = np.isfinite(one) & np.isfinite(two)
    expected = stats.ttest_rel(two[kept], one[kept])
    found = paired_means(one, two)
    assert (found.p, found.n) == (pytest.approx(expected.pvalue), 28)
    assert (found.low, found.high) == pytest.approx(tuple(expected.confidence_interval(0.95)))
    alone = paired_means(np.array([1.0, np.nan]), np.array([3.0, 1.0]))
    assert (
        alone.difference == 2 and alone.n == 1 and np.isnan([alone.low, alone.high, alone.p]).all()
    )
    assert paired_shares(np.array([np.nan]), np.array([1.0])).n == 0
