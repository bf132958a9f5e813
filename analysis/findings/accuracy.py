"""Accuracy of a run from its verdicts, with interval. Knows nothing of how an answer is graded."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from ...engine.store.format.verdicts import (
    AMBIGUOUS,
    CORRECT,
    NO_ANSWER_EXTRACTED,
    NO_GOLD_ANSWER,
    WRONG,
)
from ..results import Quantity
from ..shares import share

__all__ = [
    "AMBIGUOUS",
    "CORRECT",
    "NO_ANSWER_EXTRACTED",
    "NO_GOLD_ANSWER",
    "WRONG",
    "Counts",
    "accuracy",
    "count",
]


class Counts(NamedTuple):
    """Problems by verdict."""

    wrong: int
    correct: int
    unextracted: int
    no_gold: int
    ambiguous: int = 0

    @property
    def graded(self) -> int:
        """Problems with a gold answer; one without an extracted answer, or with a number that two
        conventions read differently, counts as not correct."""
        return self.wrong + self.correct + self.unextracted + self.ambiguous


def count(verdict: np.ndarray) -> Counts:
    """Counts of `verdict` [problem]."""
    codes = (WRONG, CORRECT, NO_ANSWER_EXTRACTED, NO_GOLD_ANSWER, AMBIGUOUS)
    return Counts(*(int(np.sum(verdict == code)) for code in codes))


def accuracy(counts: Counts) -> Quantity:
    """Correct / graded with its interval, as every share; dims ()."""
    graded = np.repeat([1.0, 0.0], [counts.correct, counts.graded - counts.correct])
    return share(
        graded, label="share of problems answered correctly", missing="no problem has a gold answer"
    )
