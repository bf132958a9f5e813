"""Intervals over problems: against numbers worked out otherwise, scipy's own bootstrap, and how
often they hold the truth."""

from __future__ import annotations

import numpy as np
import pytest

from diffengine.analysis.branching.resampling import (
    correlation_interval,
    mean_interval,
    problem_means,
    share_interval,
)
from diffengine.analysis.shares import wilson


def test_samples_of_a_problem_are_averaged_first() -> None:
    values = np.array([[1.0, np.nan], [3.0, np.nan], [5.0, 4.0]])
    groups = np.array(["a", "a", "b"], object)
    np.testing.assert_array_equal(problem_means(values, groups), [[2.0, np.nan], [5.0, 4.0]])
    # what is missing of one sample leaves the other
    values[0, 0] = np.nan
    assert problem_means(values, groups)[0, 0] == 3.0


def test_scipys_bootstrap_agrees() -> None:
    from scipy.stats import bootstrap

    values = np.random.default_rng(3).exponential(size=25) ** 2
    expected = bootstrap(
        (values,), np.mean, n_resamples=20_000, method="BCa", rng=np.random.default_rng(1)
    ).confidence_interval
    found = mean_interval(values[:, None], seed=0)
    assert found.mean[0] == pytest.approx(values.mean()) and found.n[0] == 25
    # the ends of simple quantiles are .3 and 1.1 standard errors away
    error = values.std(ddof=1) / 5
    assert found.low[0] == pytest.approx(expected.low, abs=0.15 * error)
    assert found.high[0] == pytest.approx(expected.high, abs=0.4 * error)
    # skewed to the right, so is the interval
    assert found.high[0] - found.mean[0] > found.mean[0] - found.low[0]


@pytest.mark.parametrize("law", ["exponential", "mostly 0"])
def test_coverage(law: str) -> None:
    """95 % of the intervals of 60 problems hold the mean, within what 300 runs can tell."""
    rng = np.random.default_rng(0)
    values = rng.exponential(size=(60, 300))
    if law == "mostly 0":
        values *= rng.random((60, 300)) < 0.3
    truth = 1.0 if law == "exponential" else 0.3
    found = mean_interval(values, seed=1)
    covered = ((found.low <= truth) & (truth <= found.high)).mean()
    assert 0.905 <= covered <= 0.985


def test_samples_do_not_count_as_problems() -> None:
    """Four samples of each problem that all say the same leave the interval as it was."""
    values = np.random.default_rng(5).normal(size=(40, 2))
    once = mean_interval(values, seed=0)
    groups = np.repeat(np.arange(40), 4)
    again = mean_interval(problem_means(np.repeat(values, 4, axis=0), groups), seed=0)
    for name in ("mean", "low", "high", "n"):
        np.testing.assert_allclose(getattr(again, name), getattr(once, name))


def test_no_interval_where_nothing_can_be_told() -> None:
    few = mean_interval(np.arange(19.0)[:, None], seed=0)
    assert np.isnan(few.low[0]) and few.mean[0] == 9.0
    alike = mean_interval(np.zeros((50, 1)), seed=0)
    assert np.isnan(alike.low[0]) and np.isnan(alike.high[0]) and alike.mean[0] == 0
    nothing = mean_interval(np.full((50, 1), np.nan), seed=0)
    assert np.isnan(nothing.mean[0]) and nothing.n[0] == 0
    none = mean_interval(np.zeros((0, 2)), seed=0)
    assert np.isnan(none.mean).all() and none.n.tolist() == [0, 0]


def test_missing_values_are_left_out_of_their_step_alone() -> None:
    values = 5 + np.random.default_rng(2).normal(size=(40, 2))
    values[:10, 1] = np.nan
    found = mean_interval(values, seed=0)
    assert found.n.tolist() == [40, 30]
    assert found.mean[1] == pytest.approx(values[10:, 1].mean())
    assert found.low[1] < found.mean[1] < found.high[1]


def test_shares_have_wilsons_interval_and_averages_of_them_no_narrower_one() -> None:
    values = np.repeat([1.0, 0.0], [7, 13])
    found = share_interval(values[:, None])
    assert (found.low[0], found.high[0]) == pytest.approx(wilson(7, 20))
    assert share_interval(np.zeros((20, 1))).high[0] == pytest.approx(wilson(0, 20).high)

    rng = np.random.default_rng(0)
    halves = rng.integers(0, 2, (60, 300, 2)).mean(axis=2)
    found = share_interval(halves)
    assert ((found.low <= 0.5) & (found.high >= 0.5)).mean() > 0.95


def test_rank_correlation() -> None:
    from scipy.stats import spearmanr

    rng = np.random.default_rng(0)
    first = rng.normal(size=(80, 3))
    second = np.stack(
        [np.exp(first[:, 0]), -first[:, 1], np.round(first[:, 2] + rng.normal(size=80))], 1
    )
    found = correlation_interval(first, second, seed=0)
    assert found.mean[:2].tolist() == pytest.approx([1, -1])
    expected = spearmanr(first[:, 2], second[:, 2]).statistic
    assert found.mean[2] == pytest.approx(expected)
    assert found.low[2] < expected < found.high[2]
    # the large-sample error of Bonett and Wright 2000
    width = 2 * 1.96 * (1 - expected**2) * np.sqrt((1 + expected**2 / 2) / 77)
    assert found.high[2] - found.low[2] == pytest.approx(width, rel=0.25)

    few = correlation_interval(first[:19], second[:19], seed=0)
    assert np.isnan(few.mean).all() and few.n.tolist() == [19] * 3
    constant = correlation_interval(first, np.ones((80, 3)), seed=0)
    assert np.isnan(constant.mean).all()
