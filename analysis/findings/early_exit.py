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

from ..means import as_quantity, mean_over_problems
from ..registry import EXIT_RULES, resolve
from ..results import Quantity
from ..shares import share
from .accuracy import CORRECT, NO_GOLD_ANSWER

GAPS = (7.5, 5.0, 2.5)
"""Logit gap to exceed in the first, middle and last third of the steps (Prophet, arXiv 2508.19982).
"""
CONFIDENCE = 0.9
"""Probability that the least sure position must reach (Fast-dLLM's threshold, arXiv 2505.22618)."""
KLASS_KL = 0.01
KLASS_HISTORY = 2
"""Bits that no position may move, in so many steps in a row (after KLASS, arXiv 2511.05664)."""

Signals = Mapping[str, np.ndarray]


def prophet_slot(signals: Signals) -> np.ndarray:
    """[problem, step] bool: mean logit gap at the answer's place above the threshold of this third
    of the steps."""
    margin = signals["answer/margin"]
    third = np.arange(margin.shape[1]) * len(GAPS) // max(margin.shape[1], 1)
    return margin > np.array(GAPS)[third]


def confidence_slot(signals: Signals) -> np.ndarray:
    """[problem, step] bool: every position of the answer has p >= .9 for its most probable
    token."""
    return signals["answer/lowest_confidence"] >= CONFIDENCE


def confidence_canvas(signals: Signals) -> np.ndarray:
    """[problem, step] bool: every masked position of the canvas has; needs no knowledge of the
    answer's place."""
    return signals["canvas/lowest_confidence"] >= CONFIDENCE


def klass_slot(signals: Signals) -> np.ndarray:
    """[problem, step] bool: confident at the answer's place, and KL below the threshold there two
    steps in a row."""
    still = signals["answer/largest_kl"] < KLASS_KL
    still[:, :1] = False  # the first step has no KL
    lasting = still.copy()
    for back in range(1, KLASS_HISTORY):
        lasting[:, back:] &= still[:, :-back]
        lasting[:, :back] = False
    return lasting & confidence_slot(signals)


def hindsight(signals: Signals) -> np.ndarray:
    """[problem, step] bool: the answer does not change any more. No rule can know this; it bounds
    what one can save."""
    return signals["emergence/settled"] == 1


def replay_problems(signals: Signals, verdict: np.ndarray) -> dict[str, np.ndarray]:
    """`early_exit/<rule>/{accuracy, steps}` [problem]: 1 or 0, and forward passes; NaN without a
    gold answer.

    `signals`: the metrics [problem, step]. At an exit the answer counts as graded in the end if it
    already stood there, as correct if it was exactly gold, else as wrong.
    """
    graded = verdict != NO_GOLD_ANSWER
    correct = verdict == CORRECT
    performed = np.isfinite(signals["emergence/hit"])
    found: dict[str, np.ndarray] = {}
    for rule, function in EXIT_RULES.items():
        stop, steps = exits(resolve(function)(signals), performed)
        right = np.where(stop >= 0, _right_at(signals, np.maximum(stop, 0), correct), correct)
        found[f"early_exit/{rule}/accuracy"] = np.where(graded, right.astype(np.float64), np.nan)
        found[f"early_exit/{rule}/steps"] = np.where(graded, steps.astype(np.float64), np.nan)
    return found


def replay(problems: Mapping[str, np.ndarray], verdict: np.ndarray) -> dict[str, Quantity]:
    """`early_exit/<rule>/{accuracy, accuracy_change, steps}` over the problems with a gold answer,
    of `replay_problems`. `accuracy_change` is paired with full decoding."""
    correct = (verdict == CORRECT).astype(np.float64)
    missing = "no problem has a gold answer"
    found: dict[str, Quantity] = {}
    for rule in EXIT_RULES:
        right = problems[f"early_exit/{rule}/accuracy"]
        steps = problems[f"early_exit/{rule}/steps"]
        which = f"replayed rule {rule}, counterfactual"
        found[f"early_exit/{rule}/accuracy"] = share(
            right, label=f"accuracy, {which}", missing=missing
        )
        changed = f"accuracy minus that of full decoding, paired, {which}"
        means = {
            "accuracy_change": (right - correct, "1", changed),
            "steps": (steps, "steps", f"forward passes per problem, {which}"),
        }
        for part, (values, units, label) in means.items():
            mean = mean_over_problems(values)
            found[f"early_exit/{rule}/{part}"] = as_quantity(
                mean, dims=(), units=units, label=label, missing=missing
            )
    return found


def exits(stops: np.ndarray, performed: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """[problem] the first performed step at which `stops` [problem, step] (-1 if none), and the
    forwards up to it."""
    here = stops & performed
    forwards = np.cumsum(performed, axis=1)
    stop = np.where(here.any(axis=1), here.argmax(axis=1) if here.shape[1] else 0, -1)
    rows = np.arange(len(stop))
    return stop, forwards[rows, stop] if forwards.shape[1] else np.zeros(len(stop))


def _right_at(signals: Signals, stop: np.ndarray, correct: np.ndarray) -> np.ndarray:
    if not signals["emergence/hit"].shape[1]:
        return correct
    rows = np.arange(len(stop))
    same = signals["emergence/final_guess"][rows, stop] == 1
    return np.where(same, correct, signals["emergence/hit"][rows, stop] == 1)
