"""Which answers to one problem are the same, and how far they disagree: classes of answers, and the
entropy of their distribution.

Two answers are the same where the grader would call one right if the other were gold
(`engine/answers/grade.py`): numbers by their value, expressions by Math-Verify where it is there,
else texts. All answers graded correct are one class. Texts without an extracted answer are a class
of their own, `NO_ANSWER`.
"""

from __future__ import annotations

import functools
from collections.abc import Sequence

import numpy as np

from ..engine.answers.grade import equivalent

NO_ANSWER = -1
"""The class of texts from which no answer could be extracted."""

BIT = float(np.log(2.0))
"""Nats in a bit."""

_equivalent = functools.lru_cache(maxsize=65536)(equivalent)


def answer_classes(answers: Sequence[str], correct: Sequence[bool]) -> np.ndarray:
    """[answer] the class of each of the `answers` to one problem, numbered from 0 in order of their
    first answer; `NO_ANSWER` for an empty one. `correct` [answer]: as graded."""
    first_of: list[str] = []
    right: int | None = None
    classes = np.full(len(answers), NO_ANSWER, np.int32)
    for place, (answer, is_correct) in enumerate(zip(answers, correct, strict=True)):
        if not answer:
            continue
        number = right if is_correct else _among(answer, first_of, right)
        if number is None:
            number = len(first_of)
            first_of.append(answer)
        if is_correct:
            right = number
        classes[place] = number
    return classes


def _among(answer: str, first_of: Sequence[str], right: int | None) -> int | None:
    """The class of a wrong answer, None for a new one; never that of the right ones."""
    for number, other in enumerate(first_of):
        if number != right and _equivalent(answer, other):
            return number
    return None


def class_counts(classes: np.ndarray) -> np.ndarray:
    """[class] how many of `classes` [answer] are in each class that occurs."""
    return np.unique(classes, return_counts=True)[1]


def entropy_bits(counts: np.ndarray) -> float:
    """Plug-in entropy in bits of classes with these `counts` [class], all above 0. It is too low,
    and at most log2 of the number of answers."""
    share = counts / counts.sum()
    return float(-(share * np.log2(share)).sum()) + 0.0  # no -0.0


def miller_madow_bits(counts: np.ndarray) -> float:
    """The same with the first-order correction of its bias, (classes - 1) / (2 answers) nats
    (Miller 1955)."""
    correction = (len(counts) - 1) / (2 * counts.sum())
    return entropy_bits(counts) + float(correction) / BIT
