"""The S-curve verdict: right shape, right midpoint, no verdict out of noise; the original suite's
crossings."""

from __future__ import annotations

import time

import numpy as np
import pytest

from diffengine.analysis.findings.s_curve import flatness_p, s_curve
from diffengine.analysis.limits import MIN_CURVE_PROBLEMS

STEPS = 64
X = np.linspace(0, 1, STEPS)
TRUTHS = {
    "constant": np.full(STEPS, 0.4),
    "line": 0.2 + 0.5 * X,
    "step": 0.2 + 0.5 * (X >= 0.41),
    "saturating": 0.1 + 0.7 * -np.expm1(-X / 0.15),
    "logistic": 0.1 + 0.7 / (1 + np.exp(-(X - 0.5) / 0.06)),
}


def sample(curve: np.ndarray, *, problems: int = 100, seed: int = 0) -> np.ndarray:
    """Standard error .03 of the mean at each step, as in the study that chose the method."""
    return curve + 0.3 * np.random.default_rng(seed).normal(size=(problems, len(curve)))


@pytest.mark.parametrize("name", TRUTHS)
def test_picks_the_shape(name: str) -> None:
    results = [s_curve(sample(TRUTHS[name], seed=seed), seed=seed).s_curve for seed in range(10)]
    assert sum(result.model == name for result in results) >= 8
    assert sum(result.verdict == "s-curve" for result in results) == (
        10 if name == "logistic" else 0
    )


def test_midpoint_length_and_amplitude_within_their_errors() -> None:
    results = [
        s_curve(sample(TRUTHS["logistic"], seed=seed), seed=seed).s_curve for seed in range(10)
    ]
    midpoints = np.array([result.midpoint for result in results])
    assert np.abs(midpoints - 31.5).mean() < 0.4
    deviations = (midpoints - 31.5) / [result.midpoint_stderr for result in results]
    assert np.sqrt((deviations**2).mean()) < 2.0
    assert np.mean([result.length_10_90 for result in results]) == pytest.approx(
        4.394 * 0.06 * 63, rel=0.05
    )
    assert np.mean([result.amplitude for result in results]) == pytest.approx(0.7, abs=0.02)
    assert all(0.005 < result.amplitude_stderr < 0.04 for result in results)


def test_the_gate_survives_dependent_steps() -> None:
    """Random walks: each looks like a trend, their mean has none. 120 runs at level .05."""
    rng = np.random.default_rng(5)
    walks = [np.cumsum(rng.normal(size=(40, STEPS)), axis=1) for _ in range(120)]
    assert np.mean([flatness_p(walk, seed=i) <= 0.05 for i, walk in enumerate(walks)]) <= 0.1


def test_the_gate_sees_a_small_change() -> None:
    assert (
        np.mean([flatness_p(sample(0.4 + 0.1 * X, seed=seed)) <= 0.05 for seed in range(20)]) >= 0.8
    )
    assert flatness_p(sample(TRUTHS["line"])) == pytest.approx(1 / 200)
    assert flatness_p(np.full((50, STEPS), 0.3)) == 1.0


def test_seed_crossings() -> None:
    curve = np.array([0.2, 0.05, 0.5, 0.81, 0.7, 0.95, 0.9])
    found = s_curve(curve[None])
    assert (
        found.s_curve.transition_start,
        found.s_curve.transition_end,
        found.s_curve.transition_length,
    ) == (0, 3, 3)
    assert (found.s_curve.max_confidence, found.s_curve.final_confidence) == (0.95, 0.9)
    low = s_curve(curve[None], threshold_low=0.3, threshold_high=0.99).s_curve
    assert (low.transition_start, low.transition_end, low.transition_length) == (2, None, None)


def test_end_is_not_before_the_start() -> None:
    found = s_curve(np.array([[0.05, 0.5, 0.9]]), threshold_low=0.6, threshold_high=0.4).s_curve
    assert (found.transition_start, found.transition_end) == (2, 2)


@pytest.mark.parametrize(
    "shape", [(0, STEPS), (1, STEPS), (MIN_CURVE_PROBLEMS - 1, STEPS), (200, 1), (200, 9)]
)
def test_too_small_is_insufficient(shape: tuple[int, int]) -> None:
    found = s_curve(np.full(shape, 0.5))
    assert (
        found.s_curve.verdict == "insufficient"
        and found.s_curve.model is None
        and np.isnan(found.fit).all()
    )
    assert str(shape[0]) in found.s_curve.reason


def test_nothing_measured() -> None:
    found = s_curve(np.full((50, 20), np.nan)).s_curve
    assert (
        found.verdict == "insufficient"
        and found.transition_start is None
        and np.isnan(found.final_confidence)
    )


def test_skipped_steps_keep_their_place() -> None:
    values = sample(TRUTHS["logistic"], problems=400)
    values[:, 1::2] = np.nan
    found = s_curve(values)
    assert found.s_curve.midpoint == pytest.approx(31.5, abs=1.5)
    assert np.isnan(found.fit[1::2]).all() and np.isfinite(found.fit[::2]).all()


def test_identical_problems_and_saturation() -> None:
    found = s_curve(np.tile(TRUTHS["logistic"], (30, 1))).s_curve
    assert found.verdict == "s-curve" and found.midpoint == pytest.approx(31.5, abs=0.1)
    assert s_curve(np.ones((30, STEPS))).s_curve.verdict == "no transition"


def test_cost_is_bounded() -> None:
    values = sample(np.interp(np.arange(512), [0, 511], [0.1, 0.9]), problems=1319)
    begin = time.process_time()
    s_curve(values)
    assert time.process_time() - begin < 2.0
