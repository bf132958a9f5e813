"""The original suite's healthy and problematic signs: the evidence for each always, a verdict only
where the numbers carry one.

No verdict below 100 graded problems or 20 in the smaller class. Tests are two-sided at .05,
Bonferroni over the nine signs. One run shows whether a sign is there, not whether it is good: that
needs other runs to compare with.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from ...engine.store.counts import count_text
from ..groups import Groups
from ..limits import (
    BLOCKS_DIFFER,
    ENDS_DIFFER,
    INSUFFICIENT,
    OK,
    too_few_in_class,
    too_few_problems,
)
from ..means import deviation, mean_over_problems
from ..results import Pattern, SCurve, Spike
from ..wording import known, of_n, plus_minus
from .accuracy import Counts, Members
from .gain import Gain, change, information_gain, value_before
from .spikes import Spikes, critical_z

N_SIGNS = 9
FEW_SPIKES = 2
MANY_SPIKES = 5
FLAT = 0.05
"""A mean confidence that surely stays within this range of its first value counts as flat."""
SPLITS = 20
ENTROPY_DECREASES = "Entropy decreases over time"
ENTROPY_INCREASES = "Entropy increases"
CKA_INCREASES = "CKA between steps increases"
KL_ALIGNED = "KL spikes align with information spikes"
FEW_MAJOR = "2-5 major information spikes"
NO_CLEAR = "No clear information spikes (gradual drift)"
RANDOM = "Random spike pattern (unstable process)"
OF_COMMON_STEPS = (
    ENTROPY_DECREASES,
    ENTROPY_INCREASES,
    CKA_INCREASES,
    KL_ALIGNED,
    FEW_MAJOR,
    NO_CLEAR,
    RANDOM,
)
"""Signs that ask what happens at a step, the same for all problems, or compare the first with the
last."""


class Signs(NamedTuple):
    """What the signs are read from; arrays are [row, step]. `spikes` are those of the rule `z`
    on `gain`; a spike with a gain above `major` (the original suite's spike threshold) is a major
    one. `groups`: which rows are samples of one problem. `of_blocks`: each problem is decoded block
    by block, so that its first step and its last are of other positions."""

    confidence: np.ndarray
    entropy: np.ndarray
    kl: np.ndarray
    cka: np.ndarray
    gain: Gain
    spikes: Spikes
    major: float
    s_curve: SCurve
    counts: Counts | Members
    seed: int
    groups: Groups | None = None
    of_blocks: bool = False


class Change(NamedTuple):
    """Mean change over problems and whether it differs from 0: -1, 0 or 1."""

    mean: float
    stderr: float
    n: int
    direction: int


def judge_patterns(signs: Signs) -> list[Pattern]:
    """All nine signs, healthy ones first, in the order of the original suite."""
    patterns = [
        _clear_s_curve(signs),
        _few_spikes(signs),
        _entropy_decreases(signs),
        _cka_increases(signs),
        _kl_aligned(signs),
        _flat(signs),
        _no_spikes(signs),
        _entropy_increases(signs),
        _random_spikes(signs),
    ]
    if signs.of_blocks:
        patterns = [
            pattern._replace(verdict=_unknown(BLOCKS_DIFFER))
            if pattern.name in OF_COMMON_STEPS
            else pattern
            for pattern in patterns
        ]
    reason = withheld(signs.counts)
    if not reason:
        return patterns
    return [pattern._replace(verdict=_unknown(reason)) for pattern in patterns]


def withheld(counts: Counts | Members) -> str:
    """Why this run is too small for any verdict; empty if it is not."""
    minority = min(counts.correct, counts.wrong)
    return too_few_problems(counts.graded, what="graded problem(s)") or too_few_in_class(minority)


def judge_change(values: np.ndarray, groups: Groups | None = None, *, share: float = 0.0) -> Change:
    """Mean over problems of the change of `values` [row, step] and its t test (see `gain.change`
    for `share`); `groups`: which rows are samples of one problem."""
    from scipy import stats

    over_problems = mean_over_problems(change(values, share=share), groups)
    mean = float(over_problems.mean)
    stderr = float(over_problems.stderr)
    n = int(over_problems.n)
    significant = n >= 2 and abs(mean) > stats.t.isf(0.025 / N_SIGNS, n - 1) * stderr
    return Change(mean, stderr, n, int(np.sign(mean)) if significant else 0)


def _clear_s_curve(signs: Signs) -> Pattern:
    curve = signs.s_curve
    evidence = f"best model {curve.model or 'none'}; {curve.verdict}: {curve.reason}"
    verdict = _yes(curve.verdict == "s-curve")
    if curve.verdict == "insufficient":
        verdict = _unknown(curve.reason)
    return Pattern("Clear S-curve in the confidence", evidence, verdict)


def _few_spikes(signs: Signs) -> Pattern:
    count = len(_major(signs))
    verdict = _yes(FEW_SPIKES <= count <= MANY_SPIKES)
    if signs.spikes.status != OK:
        verdict = _unknown(signs.spikes.status)
    return Pattern(FEW_MAJOR, _spike_evidence(signs), verdict)


def _entropy_decreases(signs: Signs) -> Pattern:
    entropy = judge_change(signs.entropy, signs.groups)
    return Pattern(
        ENTROPY_DECREASES,
        _text(entropy, "bits, last - first step"),
        _directed(entropy, -1),
    )


def _cka_increases(signs: Signs) -> Pattern:
    cka = judge_change(signs.cka, signs.groups, share=1 / 3)
    evidence = _text(
        cka, "(debiased CKA with the step before, last third - first third of the steps)"
    )
    return Pattern(CKA_INCREASES, evidence, _directed(cka, 1))


def _kl_aligned(signs: Signs) -> Pattern:
    """Mean rank of KL at the spikes against all circular shifts of the KL trajectory."""
    name = KL_ALIGNED
    kl = mean_over_problems(signs.kl, signs.groups).mean
    usable = np.flatnonzero(np.isfinite(kl) & np.isfinite(signs.gain.gain))
    major = [spike.step for spike in _major(signs)]
    places = np.flatnonzero(np.isin(usable, major))
    if not len(places):
        return Pattern(
            name, "no major spike at a step with a KL", _unknown("no major spike to compare with")
        )
    rank = kl[usable].argsort().argsort() / max(len(usable) - 1, 1)
    shifted = np.array([np.roll(rank, shift)[places].mean() for shift in range(len(usable))])
    p = float((shifted >= shifted[0] - 1e-12).mean())
    evidence = (
        f"mean relative rank of KL at the major spikes ({len(places)}) {shifted[0]:.2f} (0 lowest, "
        f"1 highest step), p = {p:.3f} against {count_text(len(usable), 'circular shift')}"
    )
    verdict = _yes(p <= 0.05) if len(usable) >= 20 else _unknown("fewer than 20 steps")
    behind = np.isfinite(signs.kl).sum(axis=0)[usable]
    if (behind != behind[0]).any():
        verdict = _unknown(ENDS_DIFFER)
    return Pattern(name, evidence, verdict)


def _flat(signs: Signs) -> Pattern:
    moved = judge_change(signs.confidence, signs.groups)
    curve = signs.s_curve
    sure = moved.n >= 2 and abs(moved.mean) + 1.96 * moved.stderr < FLAT
    verdict = _unknown("neither a change nor its absence is established")
    if curve.gate_p <= 0.05:
        verdict = "not seen"
    elif sure:
        verdict = "seen"
    gate = known(curve.gate_p, ".3f")
    evidence = f"{_text(moved, 'confidence, last - first step')}; any change over steps p = {gate}"
    return Pattern("Flat confidence trajectory", evidence, verdict, "problematic")


def _no_spikes(signs: Signs) -> Pattern:
    smallest = float("nan")
    if signs.spikes.status == OK:
        smallest = float(np.nanmedian(critical_z(signs.gain) * signs.gain.stderr))
    in_words = known(smallest, ".2g")
    verdict = _unknown(f"only jumps above {in_words} would be detected")
    if _major(signs):
        verdict = "not seen"
    elif smallest <= signs.major:
        verdict = "seen"
    evidence = f"{_spike_evidence(signs)}; smallest detectable gain {in_words} (median over steps)"
    return Pattern(NO_CLEAR, evidence, verdict, "problematic")


def _entropy_increases(signs: Signs) -> Pattern:
    entropy = judge_change(signs.entropy, signs.groups)
    return Pattern(
        ENTROPY_INCREASES,
        _text(entropy, "bits, last - first step"),
        _directed(entropy, 1),
        "problematic",
    )


def _random_spikes(signs: Signs) -> Pattern:
    """Single problems jump, but two halves of the problems do not jump at the same steps."""
    name = RANDOM
    agreement = split_half(signs.confidence, signs.groups, seed=signs.seed)
    jump = _mean_largest_jump(signs.confidence, signs.groups)
    evidence = (
        "correlation of the gain over steps between halves of the problems "
        f"{known(agreement, '.2f')} (mean of {SPLITS} splits); largest one-step gain of a single "
        f"problem {known(jump, '.2f')} on average"
    )
    compared = int(np.isfinite(signs.confidence).any(axis=0).sum()) - 1
    verdict = _unknown("agreement between the halves is neither clear nor absent")
    if agreement > 0.5 or jump < signs.major:
        verdict = "not seen"
    elif agreement < 2 / np.sqrt(max(compared, 1)):
        verdict = "seen"
    return Pattern(name, evidence, verdict, "problematic")


def _mean_largest_jump(confidence: np.ndarray, groups: Groups | None) -> float:
    """Mean over problems of the largest gain of one step; NaN where no problem has any."""
    gains = confidence - value_before(confidence)
    largest = np.where(np.isfinite(gains), gains, -np.inf).max(axis=1, initial=-np.inf)
    if groups is not None and not groups.is_plain:
        return float(mean_over_problems(largest, groups).mean)
    largest = largest[np.isfinite(largest)]
    return float(largest.mean()) if len(largest) else float("nan")


def split_half(values: np.ndarray, groups: Groups | None = None, *, seed: int) -> float:
    """Mean over random splits of the Pearson correlation over steps of the halves' gains; NaN below
    4 problems. Samples of one problem, rows of one of `groups`, are in one half."""
    has_value = np.isfinite(values).any(axis=1)
    values = values[has_value]
    groups = Groups.single(len(values)) if groups is None else groups.chosen(has_value)
    problems = groups.count()
    if problems < 4:
        return float("nan")
    rng = np.random.default_rng(seed)
    correlations = []
    for _ in range(SPLITS):
        order = rng.permutation(problems)
        half, rest = (groups.rows_of(part) for part in np.array_split(order, 2))
        first = information_gain(values[half], groups.chosen(half)).gain
        second = information_gain(values[rest], groups.chosen(rest)).gain
        both = np.isfinite(first) & np.isfinite(second)
        if both.sum() >= 3 and deviation(first[both]) > 0 and deviation(second[both]) > 0:
            correlations.append(np.corrcoef(first[both], second[both])[0, 1])
    return float(np.mean(correlations)) if correlations else float("nan")


def _major(signs: Signs) -> list[Spike]:
    return [spike for spike in signs.spikes.spikes if spike.gain > signs.major]


def _spike_evidence(signs: Signs) -> str:
    if signs.spikes.status != OK:
        return signs.spikes.status
    steps = int(np.isfinite(signs.gain.gain).sum())
    count = len(signs.spikes.spikes)
    return (
        f"a significant gain (rule z) at {count} of {count_text(steps, 'step')}, at "
        f"{len(_major(signs))} of them one of more than {signs.major:g}"
    )


def _text(tested: Change, what: str) -> str:
    if not tested.n:
        return f"no problem has a value at both ends: {what}"
    return f"{tested.mean:+.3g}{plus_minus(tested.stderr)} {what}, {of_n(tested.n, tested.stderr)}"


def _directed(tested: Change, direction: int) -> str:
    if tested.n < 2:
        return _unknown("fewer than 2 problems with a value")
    return _yes(tested.direction == direction)


def _yes(seen: bool) -> str:
    return "seen" if seen else "not seen"


def _unknown(reason: str) -> str:
    return f"no verdict: {reason.removeprefix(INSUFFICIENT)}"
