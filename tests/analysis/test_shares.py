"""One rule for shares: Wilson's interval, against scipy, against its own defining equation, and
where it shows."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from scipy.stats import binomtest

from diffengine.analysis.analyze import analyze_run
from diffengine.analysis.quantity import Quantity
from diffengine.analysis.shares import Z, share_of, wilson
from diffengine.analysis.show.summary import summarise
from diffengine.analysis.wording import value_text


@pytest.mark.parametrize(("hits", "n"), [(0, 7), (7, 7), (3, 10), (850, 1000), (0, 100)])
def test_wilson_equals_scipy(hits: int, n: int) -> None:
    expected = binomtest(hits, n).proportion_ci(method="wilson")
    assert wilson(hits, n) == pytest.approx((expected.low, expected.high), abs=1e-12)


def test_none_of_a_hundred() -> None:
    assert share_of(0, 100) == "0 % (0 to 3.7 %)".replace(" %)", ")")
    assert np.isnan(wilson(0, 0)).all() and share_of(0, 0) == "none of 0"


@pytest.mark.parametrize(
    ("hits", "n", "whole"), [(3, 10, 30), (420, 448, 1000), (0, 20, 25), (20, 20, 100)]
)
def test_the_ends_for_a_finite_whole_solve_the_score_equation(
    hits: int, n: int, whole: int
) -> None:
    """|p - share| = z sqrt(p (1 - p) / n x (N - n) / (N - 1)) at both ends, solved by bisection as
    a slow twin."""
    rate = hits / n
    variance = (whole - n) / (whole - 1) / n

    def beyond(p: float) -> bool:
        return abs(p - rate) > Z * (p * (1 - p) * variance) ** 0.5

    for end, outer in zip(wilson(hits, n, whole=whole), (0.0, 1.0), strict=True):
        inside, outside = rate, outer
        for _ in range(60):
            middle = (inside + outside) / 2
            inside, outside = (inside, middle) if beyond(middle) else (middle, outside)
        assert end == pytest.approx(inside, abs=1e-9)


def test_all_of_the_whole_leaves_nothing_open() -> None:
    assert wilson(7, 10, whole=10) == pytest.approx((0.7, 0.7))


def test_a_share_leaves_out_what_has_no_value_and_has_no_standard_error() -> None:
    values = np.array([[1.0, np.nan, 0.0], [0.0, np.nan, 0.0], [np.nan, np.nan, 0.0]])
    found = Quantity.share_of_problems(values, label="x", missing="nothing")
    assert found.n.tolist() == [2, 0, 3] and found.stderr is None  # type: ignore[union-attr]
    np.testing.assert_array_equal(found.values, [0.5, np.nan, 0.0])
    np.testing.assert_allclose(found.interval[:, 2], wilson(0, 3))
    assert np.isnan(found.interval[:, 1]).all()
    assert value_text(found, 0) == "50 % (9.45 to 90.5)" and value_text(found, 1) == "no value"
    assert (
        Quantity.share_of_problems(np.full(4, np.nan), label="x", missing="nothing").status
        == "insufficient: nothing"
    )


def test_every_share_of_an_analysis_follows_the_rule(make_run: Callable[..., Any]) -> None:
    """Whatever is 0 or 1 for each problem: accuracy, EverPass, hits by now, exits; none with a
    +-."""
    analysis = analyze_run(make_run(40, 8, 8))
    shares = {name: q for name, q in analysis.quantities.items() if q.interval is not None}
    named = {"accuracy", "emergence/ever_pass", "emergence/pass_lost", "emergence/hit", "emergence/settled",
             "emergence/stable_hit_by_50", "emergence/first_hit_by_25_correct",
             "early_exit/hindsight/accuracy"}  # fmt: skip
    assert named <= set(shares)
    for name, quantity in analysis.quantities.items():
        is_said_to_be = "share" in quantity.label or (
            name.startswith("early_exit") and name.endswith("/accuracy")
        )
        assert is_said_to_be == (quantity.interval is not None), name
    for quantity in shares.values():
        assert quantity.stderr is None
        rates = np.atleast_1d(quantity.values)
        counts = np.broadcast_to(quantity.n, rates.shape)
        ends = quantity.interval.reshape(2, -1)
        for rate, n, low, high in zip(rates, counts, *ends, strict=True):
            np.testing.assert_allclose(
                (low, high), wilson(round(rate * n), int(n)) if n else (np.nan, np.nan)
            )
    text = summarise(analysis)
    assert "accuracy 50.0 % (95 % interval 35.2 to 64.8 %" in text
    assert not [line for line in text.splitlines() if line.startswith("Pass") and "+-" in line]
