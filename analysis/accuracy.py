"""Accuracy of a run from its verdicts, with interval. Knows nothing of how an answer is graded."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from .results import Quantity

WRONG, CORRECT, NO_ANSWER_EXTRACTED, NO_GOLD_ANSWER, AMBIGUOUS = range(5)
"""Values of the recorded variable `verdict`."""


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


class Interval(NamedTuple):
    """A 95 % interval."""

    low: float
    high: float


def count(verdict: np.ndarray) -> Counts:
    """Counts of `verdict` [problem]."""
    codes = (WRONG, CORRECT, NO_ANSWER_EXTRACTED, NO_GOLD_ANSWER, AMBIGUOUS)
    return Counts(*(int(np.sum(verdict == code)) for code in codes))


def accuracy(counts: Counts) -> Quantity:
    """Correct / graded, with its binomial standard error sqrt(p (1 - p) / n); dims ()."""
    n = counts.graded
    rate = counts.correct / n if n else float("nan")
    stderr = np.asarray(np.sqrt(rate * (1 - rate) / n) if n else float("nan"))
    status = "ok" if n else "insufficient: no problem has a gold answer"
    return Quantity(np.asarray(rate), (), "1", n, stderr, status, "share of problems answered correctly")


def wilson(successes: int, n: int) -> Interval:
    """95 % interval of a proportion (Wilson 1927); NaN for n = 0."""
    if n == 0:
        return Interval(float("nan"), float("nan"))
    z2 = 1.959963984540054**2
    centre = (successes + z2 / 2) / (n + z2)
    half = np.sqrt(z2 * successes * (n - successes) / n + z2**2 / 4) / (n + z2)
    return Interval(float(centre - half), float(centre + half))
