"""Spike rules: false alarms, recall, the original suite's fields, and honesty about small samples."""

from __future__ import annotations

import numpy as np
import pytest

from diffengine.analysis.findings.gain import information_gain
from diffengine.analysis.findings.spikes import find_spikes, spike_totals
from diffengine.analysis.limits import MIN_GAINS
from diffengine.analysis.registry import SPIKE_RULES

STEPS = 64


def noisy(
    curve: np.ndarray, problems: int, rng: np.random.Generator, noise: float = 0.2
) -> np.ndarray:
    """Curves whose mean has standard error noise / sqrt(problems) at each step."""
    return curve + noise * rng.normal(size=(problems, len(curve)))


def test_false_alarms_on_flat_curves() -> None:
    """Family-wise level .05; 400 runs, so .08 is more than two and a half standard errors above
    it."""
    rng = np.random.default_rng(0)
    flat = np.full(STEPS, 0.4)
    gains = [information_gain(noisy(flat, 100, rng)) for _ in range(400)]
    assert np.mean([len(find_spikes(gain).spikes) > 0 for gain in gains]) <= 0.08
    assert np.mean([len(find_spikes(gain, rule="2std").spikes) > 0 for gain in gains[:100]]) > 0.6


@pytest.mark.parametrize("problems", [10, 30])
def test_false_alarms_with_rare_jumps(problems: int) -> None:
    """Zero most of the time, a jump up or down in one problem of ten: far from normal, still within
    the level."""
    rng = np.random.default_rng(3)
    found = 0
    for _ in range(200):
        jumps = (rng.random((problems, STEPS)) < 0.1) * rng.choice([-1.0, 1.0], (problems, STEPS))
        found += bool(find_spikes(information_gain(np.cumsum(jumps, axis=1))).spikes)
    assert found / 200 <= 0.08


def test_recall_of_one_jump() -> None:
    rng = np.random.default_rng(1)
    curve = np.where(np.arange(STEPS) >= 20, 0.45, 0.3)
    hits = [
        [spike.step for spike in find_spikes(information_gain(noisy(curve, 100, rng))).spikes]
        for _ in range(60)
    ]
    assert np.mean([20 in steps for steps in hits]) >= 0.95


def test_fields_and_block_boundary() -> None:
    rng = np.random.default_rng(2)
    curve = np.repeat([0.1, 0.5, 0.6, 0.9], 4)
    values = noisy(curve, 200, rng, noise=0.05)
    block = np.repeat([0, 1], 8)
    spikes = find_spikes(information_gain(values), block=block).spikes
    assert [spike.step for spike in spikes] == [4, 8, 12]
    assert [spike.at_block_boundary for spike in spikes] == [False, True, False]
    for spike in spikes:
        assert spike.gain == pytest.approx(spike.confidence_after - spike.confidence_before)
        assert spike.z == pytest.approx(spike.gain / spike.stderr)
        assert spike.confidence_after == pytest.approx(values[:, spike.step].mean())


def test_falls_are_no_spikes() -> None:
    rng = np.random.default_rng(4)
    values = noisy(np.repeat([0.9, 0.1], 8), 50, rng, noise=0.02)
    assert all(
        not find_spikes(information_gain(values), rule=rule).spikes for rule in ("z", "basic")
    )


def test_legacy_rules_by_hand() -> None:
    values = np.array([[0.0, 0.05, 0.30, 0.35, 0.50]])
    gain = information_gain(values)
    basic = find_spikes(gain, rule="basic", threshold=0.1)
    assert [spike.step for spike in basic.spikes] == [2, 4] and basic.status == "ok"
    deviation = np.std([0.05, 0.25, 0.05, 0.15])
    assert [spike.step for spike in find_spikes(gain, rule="2std").spikes] == [
        step for step, g in enumerate([0.05, 0.25, 0.05, 0.15], 1) if g > 2 * deviation
    ]
    totals = spike_totals(basic.spikes, gain)
    assert totals["num_spikes"] == 2 and totals["spike_steps"] == [2, 4]
    assert (
        totals["total_gain"],
        totals["largest_spike"],
        totals["avg_spike_gain"],
    ) == pytest.approx((0.5, 0.25, 0.2))


def test_identical_problems() -> None:
    """No spread at all: a rise is certain, no rise is none."""
    gain = information_gain(np.tile([0.2, 0.2, 0.7], (20, 1)))
    assert [spike.step for spike in find_spikes(gain).spikes] == [2]


def test_too_few_problems_say_so() -> None:
    rng = np.random.default_rng(0)
    found = find_spikes(information_gain(noisy(np.linspace(0, 1, 8), MIN_GAINS - 1, rng)))
    assert found.spikes == []
    assert (
        found.status == "insufficient: 9 problems with a gain (at least 10; 1 more would suffice)"
    )


@pytest.mark.parametrize("rule", SPIKE_RULES)
@pytest.mark.parametrize("shape", [(0, 5), (1, 1), (20, 1), (3, 4)])
def test_small_shapes(rule: str, shape: tuple[int, int]) -> None:
    gain = information_gain(np.full(shape, 0.5))
    found = find_spikes(gain, rule=rule)
    assert found.spikes == []
    assert spike_totals([], gain)["largest_spike"] is None


def test_unknown_rule() -> None:
    with pytest.raises(ValueError, match="no spike rule is called '2sdt'.* Did you mean '2std'"):
        find_spikes(information_gain(np.ones((3, 4))), rule="2sdt")
