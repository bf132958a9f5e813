"""Accuracy of a run from its verdicts, with interval."""

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
from ..groups import Groups
from ..quantity import Quantity
from .finding import Finding, Material


class Counts(NamedTuple):
    """Problems by verdict; samples, where problems have several."""

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

    def problems(code: int) -> int:
        return int(np.sum(verdict == code))

    return Counts(
        wrong=problems(WRONG),
        correct=problems(CORRECT),
        unextracted=problems(NO_ANSWER_EXTRACTED),
        no_gold=problems(NO_GOLD_ANSWER),
        ambiguous=problems(AMBIGUOUS),
    )


def accuracy(counts: Counts) -> Quantity:
    """Correct / graded with its interval, as every share; dims ()."""
    graded = np.repeat([1.0, 0.0], [counts.correct, counts.graded - counts.correct])
    return Quantity.share_of_problems(
        graded, label="share of problems answered correctly", missing="no problem has a gold answer"
    )


class Members(NamedTuple):
    """How many problems have a sample that is graded, correct, wrong."""

    graded: int
    correct: int
    wrong: int


def members(verdict: np.ndarray, groups: Groups) -> Members:
    """Of `verdict` [row]."""
    return Members(
        graded=groups.count(verdict != NO_GOLD_ANSWER),
        correct=groups.count(verdict == CORRECT),
        wrong=groups.count(verdict == WRONG),
    )


def correctness(verdict: np.ndarray) -> np.ndarray:
    """[row] 1 where correct, 0 where not, NaN without a gold answer."""
    correct = (verdict == CORRECT).astype(np.float64)
    return np.where(verdict == NO_GOLD_ANSWER, np.nan, correct)


def accuracy_of(verdict: np.ndarray, groups: Groups) -> Quantity:
    """The accuracy of `verdict` [row] over problems, which may have several rows."""
    if groups.is_plain:
        return accuracy(count(verdict))
    return Quantity.share_of_problems(
        correctness(verdict),
        label="share of samples answered correctly, mean over problems",
        missing="no problem has a gold answer",
        groups=groups,
    )


def _make(material: Material) -> dict[str, Quantity]:
    return {"accuracy": accuracy_of(material.verdict, material.groups)}


FINDING = Finding(("accuracy",), _make)
