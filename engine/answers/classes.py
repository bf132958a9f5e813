"""Which of several extracted answers to one question are the same answer: classes by the grader's
own equivalence, made symmetric.

Grading compares an answer with gold. Here no answer is gold: two are the same if they are the same
number, or the same text, or if Math-Verify calls them the same in either direction, or if both were
graded correct. No answer at all is a class of its own. A number that two conventions read
differently (`12,5`) is the same as itself written alike, and as nothing else.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from .ambiguous import readings
from .grade import same_answer
from .numbers import parse_value
from .symbolic import same_expression

MOST_ASKED = 200
"""Pairs of answers to one question that Math-Verify is asked about; beyond them texts compare."""

_FORMULA = re.compile(r"[\\\d^=+*/]")
"""What an answer has that may be written in another way; words alone compare as text."""


class AnswerClasses(NamedTuple):
    """`label` [answer]: the number of its class, from 0, in the order of first appearance.
    `unextracted`: the label of the answers that are none, -1 without one. `uncompared`: pairs that
    were compared as text because Math-Verify gave no verdict or was asked too often.
    """

    label: np.ndarray
    unextracted: int
    uncompared: int


def answer_classes(answers: Sequence[str], correct: Sequence[bool]) -> AnswerClasses:
    """Classes of the extracted `answers` [answer] to one question, "" where none was found;
    `correct` [answer]: graded as the gold answer.

    The answers come in any order: each class is represented by its answer that is first in order of
    text, so that the classes do not depend on the order of draws where sameness is transitive.
    """
    by_text = _correct_by_text(answers, correct)
    classes: list[_Class] = []
    class_of: dict[str, int] = {}
    budget = _Budget()
    for text in sorted(by_text):
        same = _same_as(text, classes, by_text[text], budget)
        if same is None:
            same = len(classes)
            classes.append(_Class(text))
        classes[same].is_correct |= by_text[text]
        class_of[text] = same

    order: dict[int, int] = {}
    labels = [order.setdefault(class_of[answer], len(order)) for answer in answers]
    unextracted = order[class_of[""]] if "" in class_of else -1
    return AnswerClasses(np.array(labels, np.int32), unextracted, budget.uncompared)


@dataclass
class _Class:
    """The answer that stands for its class, and whether any of its members was graded correct."""

    answer: str
    is_correct: bool = False


class _Budget:
    """How often Math-Verify may still be asked, and how many pairs it did not settle."""

    def __init__(self) -> None:
        self.left = MOST_ASKED
        self.uncompared = 0

    def is_same(self, answer: str, other: str) -> bool:
        """Whether Math-Verify calls them the same with either in gold's role."""
        if self.left <= 0:
            self.uncompared += 1
            return False
        self.left -= 1
        outcomes = {same_expression(answer, other)}
        if "same" not in outcomes:
            outcomes.add(same_expression(other, answer))
        if "same" in outcomes:
            return True
        self.uncompared += outcomes != {"different"}
        return False


def _correct_by_text(answers: Sequence[str], correct: Sequence[bool]) -> dict[str, bool]:
    by_text: dict[str, bool] = {}
    for answer, right in zip(answers, correct, strict=True):
        by_text[answer] = by_text.get(answer, False) or (bool(right) and answer != "")
    return by_text


def _same_as(text: str, classes: Sequence[_Class], is_correct: bool, budget: _Budget) -> int | None:
    """The first class that the answer belongs to; None where it is a new one."""
    if text == "":
        return None
    for place, other in enumerate(classes):
        both_correct = is_correct and other.is_correct
        if other.answer and (both_correct or same_answer(text, other.answer)):
            return place
    for place, other in enumerate(classes):
        if _is_worth_asking(text, other.answer) and budget.is_same(text, other.answer):
            return place
    return None


def _is_worth_asking(text: str, other: str) -> bool:
    """Whether the two may be one expression written differently: neither a word, nor ambiguous, nor
    both numbers, which compare exactly."""
    if not (_FORMULA.search(text) and _FORMULA.search(other)):
        return False
    numbers = [parse_value(answer) is not None for answer in (text, other)]
    if all(numbers):
        return False
    return not (readings(text) or readings(other))
