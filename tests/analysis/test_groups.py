"""Means and shares over problems with several samples: against slow twins, and their intervals
against simulation."""

from __future__ import annotations

from itertools import product

import numpy as np
import pytest

from diffengine.analysis.groups import Groups
from diffengine.analysis.means import MeanOverGroups, mean_over_problems
from diffengine.analysis.quantity import Quantity
from diffengine.analysis.shares import finite_factor, share_over_problems, wilson

NAMES = ["a", "b", "a", "c", "a", "b", "d"]


def gappy(rows: int, *shape: int, seed: int = 0) -> np.ndarray:
    rng = np.random.default_rng(seed)
    values = rng.normal(size=(rows, *shape))
    values[rng.random(values.shape) < 0.2] = np.nan
    return values


def slow_mean(values: np.ndarray, names: list[str]) -> tuple[float, float, int]:
    """The formula of means.py, row by row; `values` [row]."""
    weight = {name: 1 / names.count(name) for name in names}
    known = [
        (name, value) for name, value in zip(names, values.tolist(), strict=True) if value == value
    ]
    total = sum(weight[name] for name, _ in known)
    mean = sum(weight[name] * value for name, value in known) / total
    sums: dict[str, float] = {}
    for name, value in known:
        sums[name] = sums.get(name, 0.0) + weight[name] * (value - mean)
    n = len(sums)
    squares = sum(each**2 for each in sums.values())
    stderr = (n / (n - 1) * squares) ** 0.5 / total if n > 1 else np.nan
    return mean, stderr, n


def test_groups() -> None:
    groups = Groups.of(NAMES)
    assert groups.number.tolist() == [0, 1, 0, 2, 0, 1, 3]
    np.testing.assert_allclose(groups.weight, [1 / 3, 0.5, 1 / 3, 1, 1 / 3, 0.5, 1])
    assert groups.count() == 4 and groups.count(np.array([1, 0, 1, 0, 0, 0, 1], bool)) == 2
    assert groups.first_rows().tolist() == [0, 1, 3, 6]
    assert groups.rows_of(np.array([2, 0])).tolist() == [3, 0, 2, 4]
    assert not groups.is_plain and Groups.of(["x", "y"]).is_plain and Groups.of([]).is_plain
    assert not groups.chosen(np.array([0, 1, 3])).is_plain  # they do not weigh alike
    assert Groups.of(["a", "b"] * 2).chosen(np.array([0, 1])).is_plain


@pytest.mark.parametrize("seed", range(5))
def test_a_mean_is_that_of_the_slow_twin(seed: int) -> None:
    values = gappy(len(NAMES), 4, seed=seed)
    found = mean_over_problems(values, Groups.of(NAMES))
    for column in range(4):
        expected = slow_mean(values[:, column], NAMES)
        got = (found.mean[column], found.stderr[column], found.n[column])
        assert got == pytest.approx(expected, nan_ok=True)


def test_with_one_sample_each_nothing_changes_in_any_bit() -> None:
    values = gappy(40, 3)
    groups = Groups.of([str(row) for row in range(40)])
    for got, expected in zip(
        mean_over_problems(values, groups), mean_over_problems(values), strict=True
    ):
        np.testing.assert_array_equal(got, expected)
    ones = (values > 0).astype(float)
    share = {"label": "x", "missing": "nothing"}
    got = Quantity.share_of_problems(ones, groups=groups, **share)  # type: ignore[arg-type]
    plain = Quantity.share_of_problems(ones, **share)  # type: ignore[arg-type]
    np.testing.assert_array_equal(got.interval, plain.interval)
    np.testing.assert_array_equal(got.values, plain.values)


@pytest.mark.parametrize("offset", [0.0, 1e6])
def test_a_mean_of_rows_that_come_in_any_order(offset: float) -> None:
    names = [f"p{row // 3}" for row in range(60)]
    values = gappy(60, 2, 2) + offset
    groups = Groups.of(names)
    merged = MeanOverGroups((2, 2), groups)
    order = np.random.default_rng(1).permutation(60)
    for rows in np.array_split(order, 7):
        merged.add(values[rows], rows)
    expected = mean_over_problems(values, groups)
    np.testing.assert_array_equal(merged.result().n, expected.n)
    np.testing.assert_allclose(merged.result().mean, expected.mean, rtol=1e-12)
    np.testing.assert_allclose(merged.result().stderr, expected.stderr, rtol=1e-8)
    assert np.isnan(MeanOverGroups((2, 2), Groups.of([])).result().mean).all()


def test_a_share_of_samples_that_are_alike_is_wilsons_of_problems() -> None:
    hits = np.array([1.0, 0, 1, 1, 0, 1, 1])
    share = share_over_problems(np.repeat(hits, 4), Groups.of([str(i // 4) for i in range(28)]))
    np.testing.assert_allclose(share.bounds(), wilson(5, 7))
    assert (share.n, share.effective) == (7, pytest.approx(7))


def test_a_share_of_independent_samples_counts_them() -> None:
    """Two problems out of two with one hit in two: samples repel each other, and count no more than
    as independent."""
    share = share_over_problems(np.array([1.0, 0, 1, 0]), Groups.of(["a", "a", "b", "b"]))
    np.testing.assert_allclose(share.bounds(), wilson(2, 4))


@pytest.mark.parametrize("rate", [0.0, 1.0])
def test_a_share_of_none_or_all_counts_problems(rate: float) -> None:
    share = share_over_problems(np.full(40, rate), Groups.of([str(i // 8) for i in range(40)]))
    np.testing.assert_allclose(share.bounds(), wilson(5 * rate, 5))
    assert np.isnan(share_over_problems(np.full(2, np.nan), Groups.of(["a", "a"])).bounds()).all()


def test_a_finite_population() -> None:
    assert finite_factor(10, 10) == float("inf") and finite_factor(4, 10) == 9 / 6
    share = share_over_problems(np.array([1.0, 1, 0, 0]), Groups.of(["a", "a", "b", "b"]))
    np.testing.assert_allclose(share.bounds(counts_as=finite_factor(2, 5)), wilson(1, 2, whole=5))
    np.testing.assert_allclose(share.bounds(counts_as=float("inf")), [0.5, 0.5])


SIMULATED = 1500
CASES = sorted(product((30, 100), (2, 8), (0.1, 0.6, 4.0), (0.5, 0.85)))


@pytest.mark.parametrize("problems, samples, spread, rate", CASES)
def test_the_interval_of_a_share_covers_the_truth(
    problems: int, samples: int, spread: float, rate: float
) -> None:
    """Chances of problems are Beta distributed with this mean, from nearly 0 or 1 (`spread` .1) to
    nearly alike; the interval of the 95 % covers at least 92 % of the time, where one that takes
    samples for problems covers as little as 60 %."""
    rng = np.random.default_rng([problems, samples, int(10 * spread), int(100 * rate)])
    chance = rng.beta(spread * rate, spread * (1 - rate), (SIMULATED, problems))
    right = rng.binomial(samples, chance) / samples
    share = share_over_problems(
        right.T, Groups.single(problems), most=np.full(SIMULATED, problems * samples)
    )
    low, high = share.bounds()
    covered = ((low <= rate) & (rate <= high)).mean()
    assert covered >= 0.92
    if spread == 0.1 and samples == 8:
        ends = [wilson(hits, problems * samples) for hits in (right.sum(axis=1) * samples)]
        naive = np.mean([end.low <= rate <= end.high for end in ends])
        assert naive < 0.62
