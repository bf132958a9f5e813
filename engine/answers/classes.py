"""Which of several extracted answers to one question are the same answer: classes by the grader's
own equivalence, made symmetric.

Grading compares an answer with gold. Here no answer is gold: two are the same if they are the same
number, or the same text, or if Math-Verify calls them the same in either direction, or if both were
graded correct; and whatever is the same as a third. No answer at all is a class of its own. A
number that two conventions read differently (`12,5`) is the same as itself written alike, and as
nothing else.
"""

from __future__ import annotations

import re
from collections.abc import Hashable, Iterator, Sequence
from itertools import combinations
from typing import NamedTuple

import numpy as np

from .ambiguous import readings
from .numbers import normal_text, parse_value
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
    `correct` [answer]: graded as the gold answer. The order of the answers changes only the
    numbers of the classes."""
    is_correct: dict[str, bool] = {}
    for answer, right in zip(answers, correct, strict=True):
        is_correct[answer] = is_correct.get(answer, False) or bool(right)

    texts = sorted(is_correct)
    same = _Same(texts)
    first_with: dict[Hashable, str] = {}
    for text in texts:
        for trait in _traits(text, is_correct=is_correct[text]):
            same.join(first_with.setdefault(trait, text), text)
    uncompared = _join_expressions(texts, same)

    order: dict[str, int] = {}
    labels = [order.setdefault(same.name(answer), len(order)) for answer in answers]
    unextracted = order[same.name("")] if "" in is_correct else -1
    return AnswerClasses(np.array(labels, np.int32), unextracted, uncompared)


class _Same:
    """Which texts are known to be the same, by a name for each class: its first text."""

    def __init__(self, texts: Sequence[str]) -> None:
        self._name = {text: text for text in texts}

    def name(self, text: str) -> str:
        """The first text of the class that `text` is in."""
        while self._name[text] != text:
            text = self._name[text]
        return text

    def join(self, text: str, other: str) -> None:
        """Make one class of those of the two."""
        first, second = sorted((self.name(text), self.name(other)))
        self._name[second] = first


def _traits(text: str, *, is_correct: bool) -> Iterator[Hashable]:
    """What two texts must have in common, one of it, to be the same answer."""
    if text == "":
        yield "no answer"
        return
    yield "text", normal_text(text)
    number = parse_value(text)
    if number is not None:
        yield "number", number.value
    if is_correct:
        yield "correct"


def _join_expressions(texts: Sequence[str], same: _Same) -> int:
    """Join the classes whose answers Math-Verify calls the same; returns the number of pairs that
    it did not settle."""
    asked = 0
    uncompared = 0
    formulas = [text for text in texts if same.name(text) == text and _FORMULA.search(text)]
    is_number = {text: parse_value(text) is not None for text in formulas}
    formulas = [text for text in formulas if is_number[text] or not readings(text)]
    for text, other in combinations(formulas, 2):
        if is_number[text] and is_number[other]:  # they were compared exactly
            continue
        if same.name(text) == same.name(other):
            continue
        if asked == MOST_ASKED:
            uncompared += 1
            continue
        asked += 1
        outcomes = {same_expression(text, other)}
        if "same" not in outcomes:
            outcomes.add(same_expression(other, text))
        if "same" in outcomes:
            same.join(text, other)
        else:
            uncompared += outcomes != {"different"}
    return uncompared
