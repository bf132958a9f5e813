"""The original suite's signs: seen where they are, not seen where they are not, no verdict where numbers do
not carry one."""

from __future__ import annotations

import numpy as np
import pytest

from diffengine.analysis.findings.accuracy import Counts
from diffengine.analysis.findings.gain import information_gain
from diffengine.analysis.findings.patterns import Signs, judge_change, judge_patterns, split_half
from diffengine.analysis.findings.s_curve import s_curve
from diffengine.analysis.findings.spikes import find_spikes

STEPS, PROBLEMS = 40, 200
X = np.arange(STEPS)


def signs(
    confidence: np.ndarray,
    *,
    slope: float = -0.05,
    kl_at: list[int] | None = None,
    counts: Counts | None = None,
) -> Signs:
    rng = np.random.default_rng(1)
    noise = rng.normal(size=(len(confidence), STEPS))
    kl = 0.1 + 0.01 * noise
    kl[:, kl_at or []] += 1.0
    gain = information_gain(confidence)
    return Signs(
        confidence, 4 + slope * X + 0.3 * noise, kl, 0.5 - slope * X / 10 + 0.05 * noise, gain, find_spikes(gain), 0.1,
        s_curve(confidence).s_curve, counts or Counts(60, 140, 0, 0), 0,
    )  # fmt: skip


def judged(given: Signs) -> dict[str, str]:
    return {pattern.name.split(" (")[0]: pattern.verdict for pattern in judge_patterns(given)}


def jumps(at: list[int], sizes: list[float], noise: float = 0.05) -> np.ndarray:
    curve = 0.1 + sum(
        (size * (at_step <= X) for at_step, size in zip(at, sizes, strict=True)), np.zeros(STEPS)
    )
    return curve + noise * np.random.default_rng(0).normal(size=(PROBLEMS, STEPS))


def test_a_healthy_run() -> None:
    verdicts = judged(signs(jumps([10, 20, 30], [0.3, 0.3, 0.2]), kl_at=[10, 20, 30]))
    for name in (
        "2-5 major information spikes",
        "Entropy decreases over time",
        "CKA between steps increases",
        "KL spikes align with information spikes",
    ):
        assert verdicts[name] == "seen", name
    for name in (
        "Flat confidence trajectory",
        "No clear information spikes",
        "Entropy increases",
        "Random spike pattern",
    ):
        assert verdicts[name] == "not seen", name


def test_a_smooth_rise() -> None:
    curve = 0.1 + 0.8 / (1 + np.exp(-(X - 20) / 3.0))
    verdicts = judged(signs(curve + 0.1 * np.random.default_rng(0).normal(size=(PROBLEMS, STEPS))))
    assert verdicts["Clear S-curve in the confidence"] == "seen"
    assert (
        verdicts["No clear information spikes"] == "seen"
        and verdicts["2-5 major information spikes"] == "not seen"
    )


def test_a_flat_run_with_rising_entropy() -> None:
    verdicts = judged(
        signs(0.3 + 0.05 * np.random.default_rng(0).normal(size=(PROBLEMS, STEPS)), slope=0.05)
    )
    assert (
        verdicts["Flat confidence trajectory"] == "seen" and verdicts["Entropy increases"] == "seen"
    )
    assert (
        verdicts["Entropy decreases over time"] == "not seen"
        and verdicts["CKA between steps increases"] == "not seen"
    )
    assert verdicts["KL spikes align with information spikes"].startswith("no verdict")


def test_spikes_where_kl_is_low_do_not_align() -> None:
    assert (
        judged(signs(jumps([10, 20, 30], [0.3, 0.3, 0.2]), kl_at=[5, 15, 25]))[
            "KL spikes align with information spikes"
        ]
        == "not seen"
    )


def test_jumps_at_random_steps() -> None:
    rng = np.random.default_rng(2)
    up, down = rng.integers(1, STEPS, (2, PROBLEMS, 1))
    confidence = 0.4 + 0.4 * (up <= X) - 0.4 * (down <= X)
    assert judged(signs(confidence))["Random spike pattern"] == "seen"


@pytest.mark.parametrize(
    "counts",
    [Counts(30, 69, 0, 5), Counts(19, 181, 0, 0), Counts(200, 0, 0, 0), Counts(0, 0, 0, 200)],
)
def test_small_or_one_sided_runs_get_no_verdict(counts: Counts) -> None:
    patterns = judge_patterns(signs(jumps([10], [0.5]), counts=counts))
    assert len(patterns) == 9
    assert all(
        pattern.verdict.startswith("no verdict: ") and pattern.evidence for pattern in patterns
    )


def test_change() -> None:
    rng = np.random.default_rng(0)
    none, down = rng.normal(size=(100, 5)), rng.normal(size=(100, 5)) + np.array([2, 1, 1, 1, 0.0])
    assert judge_change(none).direction == 0 and judge_change(down).direction == -1
    assert judge_change(np.full((3, 4), np.nan)).n == 0


def test_split_half() -> None:
    rng = np.random.default_rng(0)
    assert split_half(jumps([10, 20], [0.4, 0.4]), seed=0) > 0.9
    assert abs(split_half(rng.normal(size=(200, STEPS)), seed=0)) < 0.35
    assert np.isnan(split_half(np.ones((3, 5)), seed=0)) and np.isnan(
        split_half(np.ones((30, 5)), seed=0)
    )


@pytest.mark.parametrize("problems", [0, 1, 3])
def test_tiny_runs(problems: int) -> None:
    given = np.full((problems, STEPS), 0.5)
    assert len(judge_patterns(signs(given, counts=Counts(problems, 0, 0, 0)))) == 9
