"""How the samples of each problem vote: how many are right, which answer most of them give, and how
far their answers disagree.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from ...engine.answers.classes import answer_classes
from ...engine.store.format.verdicts import CORRECT, NO_GOLD_ANSWER
from ..branching.entropy import miller_madow, plug_in
from ..groups import Groups

if TYPE_CHECKING:
    from ...engine.store import Run

NO_ANSWER = -1
"""The class of texts from which no answer could be extracted."""


class Votes(NamedTuple):
    """What the samples of each problem say. [problem]: `n` samples that are stored, `right` of them
    correct, `graded` whether it has a gold answer, `majority` the share of a vote's winners that
    are right (ties are split), `entropy` (plug-in) and `miller_madow` of the answers in bits.

    `classes` [row]: the class of each answer among those of its problem, NO_ANSWER without one.
    `uncompared`: pairs of answers that were compared as text because Math-Verify settled nothing.
    """

    n: np.ndarray
    right: np.ndarray
    graded: np.ndarray
    majority: np.ndarray
    entropy: np.ndarray
    miller_madow: np.ndarray
    classes: np.ndarray
    uncompared: int


def votes(answers: Sequence[str], verdict: np.ndarray, groups: Groups) -> Votes:
    """The votes of `answers` [row] with these verdicts; all samples that a problem has count.

    A text without an answer is a class of its own, which may win and is then wrong.
    """
    correct = verdict == CORRECT
    classes = np.zeros(len(answers), np.int32)
    columns = np.zeros((6, groups.count()))
    uncompared = 0
    order = np.argsort(groups.number, kind="stable")
    ends = np.cumsum(np.bincount(groups.number))
    for problem, rows in enumerate(np.split(order, ends[:-1])):
        right = correct[rows]
        of_rows = answer_classes([answers[row] for row in rows], right.tolist())
        label = of_rows.label
        counts = np.bincount(label)
        columns[:, problem] = (
            len(rows),
            right.sum(),
            (verdict[rows] != NO_GOLD_ANSWER).all(),
            _majority(label, counts, right),
            plug_in(counts),
            miller_madow(counts),
        )
        classes[rows] = np.where(label == of_rows.unextracted, NO_ANSWER, label)
        uncompared += of_rows.uncompared
    n, right, is_graded, majority, entropy, corrected = columns
    return Votes(n, right, is_graded, majority, entropy, corrected, classes, uncompared)


def _majority(label: np.ndarray, counts: np.ndarray, right: np.ndarray) -> float:
    """The share of the classes with most votes that is right."""
    winners = np.flatnonzero(counts == counts.max())
    return float(np.isin(winners, label[right]).mean())


def votes_of_run(run: Run, verdict: np.ndarray, groups: Groups) -> Votes | None:
    """The votes of what `run` holds; None where each problem has one sample."""
    if groups.is_plain:
        return None
    answers = np.asarray(run["extracted_answer"][...]).tolist()
    return votes([str(answer) for answer in answers], verdict, groups)


def pass_at(n: np.ndarray, right: np.ndarray, k: int) -> np.ndarray:
    """[problem] 1 - C(n - c, k) / C(n, k) for c = `right` of `n` samples; NaN where n < k.

    Chen et al. 2021 (arXiv:2107.03374), eq. 1: the chance that k samples, drawn of the n without
    replacement, hold a right one; unbiased for the chance that one of k fresh ones is right.
    """
    missed = np.ones(len(n))
    for drawn in range(k):
        # Of n - drawn samples that are left n - c - drawn are wrong.
        with np.errstate(invalid="ignore", divide="ignore"):
            missed = missed * np.maximum(n - right - drawn, 0) / (n - drawn)
    return np.where(n >= k, 1 - missed, np.nan)
