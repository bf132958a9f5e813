"""Accuracy under parallelism: cases by hand, a numerical integral, public rows, and what it drops."""

from __future__ import annotations

import math

import numpy as np
import pytest

from diffengine.analysis.compare.aup import Point, accuracy_under_parallelism


def integral(points: list[Point], best: float) -> float:
    """The same by adding up thin slices of the curve that joins the weighted points, from the first
    on; before it the first accuracy counts in full."""
    points = sorted(points)
    kept = [p for p in points if p.accuracy >= points[0].accuracy - 5]
    weighted = [p.accuracy * min(1.0, math.exp(-3 * (1 - p.accuracy / best))) for p in kept]
    rho = [p.tokens_per_forward for p in kept]
    slices = 200_000
    edges = np.linspace(rho[0], rho[-1], slices + 1)
    middles = (edges[1:] + edges[:-1]) / 2
    area = float(np.interp(middles, rho, weighted).sum() * (rho[-1] - rho[0]) / slices)
    return rho[0] * kept[0].accuracy + area


def test_one_point_is_its_rectangle() -> None:
    result = accuracy_under_parallelism([Point(2.0, 50.0)], best=80.0)
    assert result.value == 100.0
    assert (result.used, result.dropped) == ([Point(2.0, 50.0)], [])


def test_nothing_lost_is_the_area_under_a_flat_line() -> None:
    points = [Point(1.0, 70.0), Point(4.0, 70.0), Point(10.0, 70.0)]
    assert accuracy_under_parallelism(points, best=70.0).value == pytest.approx(700.0)


def test_a_loss_by_hand() -> None:
    """From (1, 80) to (3, 76), best 80: 80 + 2 x (80 + 76 exp(-.15)) / 2."""
    points = [Point(3.0, 76.0), Point(1.0, 80.0)]
    expected = 80 + (80 + 76 * math.exp(-0.15))
    assert accuracy_under_parallelism(points, best=80.0).value == pytest.approx(expected)


def test_the_weight_is_never_above_one() -> None:
    """`best` is of all methods, but nothing keeps a caller from leaving the best one out."""
    points = [Point(1.0, 80.0), Point(3.0, 90.0)]
    assert accuracy_under_parallelism(points, best=80.0).value == pytest.approx(80 + 170)


def test_points_that_lose_more_than_five_are_left_out() -> None:
    points = [Point(1.0, 82.4 + 5), Point(2.0, 82.4), Point(3.0, 82.3), Point(4.0, 83.0)]
    result = accuracy_under_parallelism(points, best=90.0)
    assert result.dropped == [Point(3.0, 82.3)]
    assert [point.tokens_per_forward for point in result.used] == [1.0, 2.0, 4.0]
    assert result.value == pytest.approx(integral(points, 90.0), rel=1e-6)


def test_five_points_are_no_more_than_five_however_they_round() -> None:
    """437 and 412 of 500 right: 100 x .874 - 5 is above 100 x .824 in floating point."""
    points = [Point(1.0, 100 * (437 / 500)), Point(2.0, 100 * (412 / 500))]
    assert accuracy_under_parallelism(points, best=87.4).dropped == []


def test_the_integral_agrees_on_random_points() -> None:
    rng = np.random.default_rng(0)
    for _ in range(20):
        n = int(rng.integers(1, 7))
        rho = 1 + rng.exponential(3, n)
        y = rng.uniform(40, 90, n)
        points = [Point(float(a), float(b)) for a, b in zip(rho, y, strict=True)]
        best = float(max(y) + rng.uniform(0, 5))
        value = accuracy_under_parallelism(points, best=best).value
        assert value == pytest.approx(integral(points, best), rel=1e-6)


def test_rows_of_the_public_leaderboard() -> None:
    """GSM8K-CoT on LLaDA-8B-Instruct (arXiv 2601.07568): the order of the methods there, and what a
    method without any loss of accuracy could reach at most."""
    rows = {
        "LLaDA": [Point(1.0, 72.55)],
        "Fast-dLLM": [Point(1.0, 74.79), Point(2.77, 74.68)],
        "D2F": [Point(1.0, 74.98), Point(2.88, 74.39)],
        "dParallel": [Point(1.0, 74.0), Point(5.14, 72.63)],
        "d3LLM": [Point(1.0, 74.02), Point(9.08, 73.1)],
    }
    values = {}
    for name, points in rows.items():
        values[name] = accuracy_under_parallelism(points, best=74.98).value
        fastest = max(point.tokens_per_forward for point in points)
        assert 0.9 * fastest * 72.55 < values[name] <= fastest * 74.98
    assert list(values) == sorted(values, key=lambda name: values[name])
    assert values["Fast-dLLM"] == pytest.approx(205.8, abs=0.05)


@pytest.mark.parametrize(
    ("points", "best", "what"),
    [
        ([], 80.0, "no points"),
        ([Point(1.0, 0.0)], 0.0, "best is 0.0"),
        ([Point(0.0, 50.0)], 80.0, "must be positive"),
    ],
)
def test_what_has_no_area(points: list[Point], best: float, what: str) -> None:
    with pytest.raises(ValueError, match=what):
        accuracy_under_parallelism(points, best=best)
