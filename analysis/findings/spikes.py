"""Information spikes: steps at which the mean confidence jumps. Three rules, one of them a test.

The legacy rules are the original suite's, kept by name for comparison: `2std` marks a spike in
nearly every curve, jumps or not, because some step always lies beyond two standard deviations.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from ..errors import load_named
from ..limits import MIN_GAINS, OK, lacking, status_of
from ..registry import SPIKE_RULES
from ..results import Spike
from .gain import Gain

FAMILY_WISE_ALPHA = 0.05


class Marked(NamedTuple):
    """`spike` [step] bool, `z` [step] (NaN where the rule has none), `status` "ok" or
    "insufficient: why"."""

    spike: np.ndarray
    z: np.ndarray
    status: str


class Spikes(NamedTuple):
    """The spikes of one rule in order of steps, and the rule's status."""

    spikes: list[Spike]
    status: str


def find_spikes(
    gain: Gain, *, rule: str = "z", threshold: float = 0.1, block: np.ndarray | None = None
) -> Spikes:
    """Spikes of `gain` by `rule`; `threshold` is used by `basic` only. `block` [step]: block that
    each step works on, -1 where a step has none of its own: then no spike is at a boundary or
    inside of one.

    Raises ValueError for an unknown rule.
    """
    mark = load_named(SPIKE_RULES, rule)
    marked: Marked = mark(gain, threshold=threshold)
    spikes = []
    for step in np.flatnonzero(marked.spike):
        spikes.append(_spike(gain, marked, int(step), block))
    return Spikes(spikes, marked.status)


def significant(gain: Gain, *, threshold: float) -> Marked:
    """`z`: gain / SE above Student's t quantile at alpha .05, one-sided, Bonferroni over the tested
    steps.

    A statement about the mean gain of that step being positive, not about its size: with thousands
    of problems every step of a smooth rise is significant.
    """
    few = gain.n < MIN_GAINS
    if not len(few) or few.all():
        most = int(gain.n.max(initial=0))
        return _none(gain, lacking(most, MIN_GAINS, "problem(s) with a gain"))
    with np.errstate(invalid="ignore", divide="ignore"):
        z = np.where(few, np.nan, gain.gain / gain.stderr)
    return Marked(z > critical_z(gain), z, "ok")


def critical_z(gain: Gain) -> np.ndarray:
    """[step] the t quantile that `significant` compares with, NaN where n is too small."""
    from scipy import stats

    is_tested = gain.n >= MIN_GAINS
    tests = max(int(is_tested.sum()), 1)
    level = FAMILY_WISE_ALPHA / tests
    degrees = np.where(is_tested, gain.n - 1, 1)
    quantile = stats.t.isf(level, degrees)
    return np.where(is_tested, quantile, np.nan)


def two_std(gain: Gain, *, threshold: float) -> Marked:
    """`2std`: gain above twice the standard deviation of the gains over steps (the original
    suite's adaptive threshold)."""
    finite = gain.gain[np.isfinite(gain.gain)]
    if len(finite) < 2:
        return _none(gain, "fewer than 3 steps with a value")
    adaptive = 2 * float(finite.std())
    return _above(gain, adaptive)


def above_threshold(gain: Gain, *, threshold: float) -> Marked:
    """`basic`: gain above `threshold` (the original suite's `spike_threshold`)."""
    if not np.isfinite(gain.gain).any():
        return _none(gain, "fewer than 2 steps with a value")
    return _above(gain, threshold)


def spike_totals(spikes: list[Spike], gain: Gain) -> dict[str, float | int | list[int] | None]:
    """The original suite's summary of a list of spikes: total gain (sum over steps), largest,
    number, mean gain, steps.

    `total_gain` is last minus first mean; None where there is no gain, and where problems end at
    different steps with the value that they had: then the gains of two steps are of different
    problems, and their sum is the gain of none.
    """
    gains = [spike.gain for spike in spikes]
    has_gain = np.isfinite(gain.gain)
    finite = gain.gain[has_gain]
    of_same = len(np.unique(gain.n[has_gain])) == 1
    total = float(finite.sum()) if of_same else None
    mean = float(np.mean(gains)) if gains else None
    return {
        "total_gain": total,
        "largest_spike": max(gains, default=None),
        "num_spikes": len(gains),
        "avg_spike_gain": mean,
        "spike_steps": [spike.step for spike in spikes],
    }


def _spike(gain: Gain, marked: Marked, step: int, block: np.ndarray | None) -> Spike:
    is_new_block: bool | None = False
    if block is not None and step > 0:
        is_new_block = bool(block[step] != block[step - 1])
    if block is not None and (block < 0).any():
        is_new_block = None
    return Spike(
        step=step,
        gain=float(gain.gain[step]),
        stderr=float(gain.stderr[step]),
        z=float(marked.z[step]),
        confidence_before=float(gain.before[step]),
        confidence_after=float(gain.after[step]),
        at_block_boundary=is_new_block,
    )


def _none(gain: Gain, reason: str) -> Marked:
    """No spike at any step, because of `reason`."""
    shape = gain.gain.shape
    return Marked(
        spike=np.zeros(shape, bool),
        z=np.full(shape, np.nan),
        status=status_of(reason),
    )


def _above(gain: Gain, threshold: float) -> Marked:
    """A spike wherever the gain is above `threshold`."""
    return Marked(
        spike=gain.gain > threshold,
        z=np.full(gain.gain.shape, np.nan),
        status=OK,
    )
