"""Accuracy of a run from its verdicts, with interval. Knows nothing of how an answer is graded."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from .results import Quantity
from .shares import share

WRONG, CORRECT, NO_ANSWER_EXTRACTED, NO_GOLD_ANSWER = range(4)
"""Values of the recorded variable `verdict`."""


class Counts(NamedTuple):
    """Problems by verdict."""

    wrong: int
    correct: int
    unextracted: int
    no_gold: int

    @property
    def graded(self) -> int:
        """Problems with a gold answer; one without an extracted answer counts, as not correct."""
        return self.wrong + self.correct + self.unextracted


def count(verdict: np.ndarray) -> Counts:
    """Counts of `verdict` [problem]."""
    return Counts(*(int(np.sum(verdict == code)) for code in (WRONG, CORRECT, NO_ANSWER_EXTRACTED, NO_GOLD_ANSWER)))


def accuracy(counts: Counts) -> Quantity:
    """Correct / graded with its interval, as every share; dims ()."""
    graded = np.repeat([1.0, 0.0], [counts.correct, counts.graded - counts.correct])
    return share(graded, label="share of problems answered correctly", missing="no problem has a gold answer")
