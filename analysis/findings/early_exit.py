"""Early-exit rules replayed on an exact trajectory: where would decoding have stopped, and what
would it have said?

Counterfactual: the trajectory is that of full decoding, read only up to the exit; a real sampler
with the rule takes the same steps until then, so steps and answer are exact for rules that only
stop. The answer is read off at the place where the full run put it, which a sampler would not know;
rules named `slot` also take their signal from there. Thresholds are the papers' where given, and
named constants here.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from ...engine.store.format.verdicts import CORRECT, NO_GOLD_ANSWER
from ..groups import Groups
from ..limits import NOTHING_TO_FILL
from ..quantity import Quantity
from ..registry import EXIT_RULES
from .finding import Finding, Material

GAPS = (7.5, 5.0, 2.5)
"""Logit gap to exceed in the first, middle and last third of the steps (Prophet, arXiv 2508.19982).
"""
CONFIDENCE = 0.9
"""Probability that the least sure position must reach (Fast-dLLM's threshold, arXiv 2505.22618)."""
KLASS_KL = 0.01
KLASS_HISTORY = 2
"""Bits that no position may move, in so many steps in a row (after KLASS, arXiv 2511.05664)."""

MISSING = "no problem has a gold answer"
OF_CANVAS = ("confidence_canvas",)
"""Rules that stop for all masked positions at once."""

Signals = Mapping[str, np.ndarray]


def prophet_slot(signals: Signals) -> np.ndarray:
    """[problem, step] bool: mean logit gap at the answer's place above the threshold of this third
    of the steps that a problem may take: no rule knows beforehand how many it will."""
    margin = signals["answer/margin"]
    steps = margin.shape[1]
    third = np.arange(steps) * len(GAPS) // max(steps, 1)
    threshold = np.array(GAPS)[third]
    return np.asarray(margin > threshold)


def confidence_slot(signals: Signals) -> np.ndarray:
    """[problem, step] bool: every position of the answer has p >= .9 for its most probable
    token."""
    return np.asarray(signals["answer/lowest_confidence"] >= CONFIDENCE)


def confidence_canvas(signals: Signals) -> np.ndarray:
    """[problem, step] bool: every masked position of the canvas has; needs no knowledge of the
    answer's place."""
    return np.asarray(signals["canvas/lowest_confidence"] >= CONFIDENCE)


def klass_slot(signals: Signals) -> np.ndarray:
    """[problem, step] bool: confident at the answer's place, and KL below the threshold there two
    steps in a row."""
    still = signals["answer/largest_kl"] < KLASS_KL
    still[:, :1] = False  # the first step has no KL
    lasting = still.copy()
    for back in range(1, KLASS_HISTORY):
        lasting[:, back:] &= still[:, :-back]
        lasting[:, :back] = False
    return np.asarray(lasting & confidence_slot(signals))


def hindsight(signals: Signals) -> np.ndarray:
    """[problem, step] bool: the answer does not change any more. No rule can know this; it bounds
    what one can save."""
    return np.asarray(signals["emergence/settled"] == 1)


def replay_problems(
    signals: Signals, verdict: np.ndarray, performed: np.ndarray, *, of_blocks: bool = False
) -> dict[str, np.ndarray]:
    """`early_exit/<rule>/{accuracy, steps}` [problem]: 1 or 0, and steps with a forward pass; NaN
    without a gold answer.

    `signals`: the metrics [problem, step]; `performed` [problem, step] bool. At an exit the answer
    counts as graded in the end if it already stood there, as correct if it was exactly gold, else
    as wrong. `of_blocks`: decoding goes block by block; a rule that looks at the canvas then has no
    value, for it cannot fill what is not open yet.
    """
    graded = verdict != NO_GOLD_ANSWER
    correct = verdict == CORRECT
    columns: dict[str, np.ndarray] = {}
    for rule in EXIT_RULES:
        if of_blocks and rule in OF_CANVAS:
            for part in ("accuracy", "steps"):
                columns[f"early_exit/{rule}/{part}"] = np.full(len(verdict), np.nan)
            continue
        stops_at = EXIT_RULES.load(rule)
        step, forwards = exits(stops_at(signals), performed)
        right_there = _right_at(signals, np.maximum(step, 0), correct)
        right = np.where(step >= 0, right_there, correct).astype(np.float64)
        passes = forwards.astype(np.float64)
        columns[f"early_exit/{rule}/accuracy"] = np.where(graded, right, np.nan)
        columns[f"early_exit/{rule}/steps"] = np.where(graded, passes, np.nan)
    return columns


def replay(
    problems: Mapping[str, np.ndarray], verdict: np.ndarray, groups: Groups | None = None
) -> dict[str, Quantity]:
    """`early_exit/<rule>/{accuracy, accuracy_change, steps}` over the problems with a gold answer,
    of `replay_problems`. `accuracy_change` is paired with full decoding. `groups`: which rows are
    samples of one problem."""
    correct = (verdict == CORRECT).astype(np.float64)
    quantities: dict[str, Quantity] = {}
    for rule in EXIT_RULES:
        prefix = f"early_exit/{rule}"
        which = f"replayed rule {rule}, counterfactual"
        right = problems[f"{prefix}/accuracy"]
        quantities[f"{prefix}/accuracy"] = Quantity.share_of_problems(
            right, label=f"accuracy, {which}", missing=MISSING, groups=groups
        )
        quantities[f"{prefix}/accuracy_change"] = Quantity.over_problems(
            right - correct,
            units="1",
            label=f"accuracy minus that of full decoding, paired, {which}",
            missing=MISSING,
            groups=groups,
        )
        quantities[f"{prefix}/steps"] = Quantity.over_problems(
            problems[f"{prefix}/steps"],
            units="steps",
            label=f"steps with a forward pass per problem, {which}",
            missing=MISSING,
            groups=groups,
        )
    return quantities


def exits(stops: np.ndarray, performed: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """[problem] the first performed step at which `stops` [problem, step] (-1 if none), and the
    forwards up to it."""
    problems, steps = performed.shape
    if not steps:
        return np.full(problems, -1), np.zeros(problems)
    allowed = stops & performed
    first = allowed.argmax(axis=1)
    step = np.where(allowed.any(axis=1), first, -1)
    forwards = np.cumsum(performed, axis=1)
    rows = np.arange(problems)
    return step, forwards[rows, step]


def _right_at(signals: Signals, step: np.ndarray, correct: np.ndarray) -> np.ndarray:
    """[problem] whether the guess at `step` is right: as graded where it is the final one."""
    hit = signals["emergence/hit"]
    if not hit.shape[1]:
        return correct
    rows = np.arange(len(step))
    is_final = signals["emergence/final_guess"][rows, step] == 1
    return np.where(is_final, correct, hit[rows, step] == 1)


def _make(material: Material) -> dict[str, Quantity]:
    quantities = replay(material.exits, material.verdict, material.groups)
    if material.trajectories.of_blocks:
        for rule in OF_CANVAS:
            for part in PARTS:
                name = f"early_exit/{rule}/{part}"
                quantities[name] = quantities[name].undefined(NOTHING_TO_FILL)
    return quantities


PARTS = ("accuracy", "accuracy_change", "steps")
FINDING = Finding(
    tuple(f"early_exit/{rule}/{part}" for rule in EXIT_RULES for part in PARTS), _make
)
