"""Classes of answers: cases decided by reading them, and what has to hold of any classes."""

from __future__ import annotations

import itertools
from collections.abc import Sequence

import numpy as np
import pytest

from diffengine.engine.answers import classes as module
from diffengine.engine.answers.classes import answer_classes

WRONG = (False,) * 20


def labels(answers: Sequence[str], correct: Sequence[bool] = WRONG) -> list[int]:
    return answer_classes(answers, correct[: len(answers)]).label.tolist()


@pytest.mark.parametrize(
    ("answers", "expected"),
    [
        (["5", "5.0", "$5", "6"], [0, 0, 0, 1]),
        (["1/2", r"\frac12", "0.5", "50"], [0, 0, 0, 1]),
        (["", "0", ""], [0, 1, 0]),
        (["Blue", r"\text{blue}", "blue.", "green"], [0, 0, 0, 1]),
        (["A", "(A)", "B"], [0, 0, 1]),
        (["12,5", "12.5", "125", "12,5"], [0, 1, 2, 0]),
        (["", "x", "", "5"], [0, 1, 0, 2]),
        ([], []),
    ],
)
def test_read_by_hand(answers: list[str], expected: list[int]) -> None:
    assert labels(answers) == expected


def test_an_extraction_failure_is_a_class_of_its_own() -> None:
    found = answer_classes(["3", "", "4", ""], WRONG[:4])
    assert found.unextracted == found.label[1] == found.label[3]
    assert answer_classes(["3"], [False]).unextracted == -1
    # even where a text without an answer was called correct
    assert labels(["", "3"], [True, True]) == [0, 1]


def test_two_that_are_correct_are_the_same() -> None:
    """As where gold has aliases, or Math-Verify calls both the gold answer."""
    assert labels(["NYC", "New York", "Boston"], [True, True, False]) == [0, 0, 1]
    # through a third: `5` is correct, and `5.0` the same number
    assert labels(["5.0", "five", "5"], [False, True, True]) == [0, 0, 0]


def test_expressions_written_differently_are_the_same_both_ways() -> None:
    assert labels([r"\frac{\sqrt{2}}{2}", r"\frac{1}{\sqrt{2}}", r"\sqrt{2}"]) == [0, 0, 1]
    assert labels([r"x^2+1", "1+x^2", "x^2+2"]) == [0, 0, 1]


def test_the_order_of_draws_does_not_matter() -> None:
    answers = ["5", "", "x+1", "5.0", "1+x", "12,5", "blue"]
    partition = {frozenset(np.flatnonzero(np.array(labels(answers)) == n)) for n in range(5)}
    for order in itertools.islice(itertools.permutations(range(7)), 0, 5040, 97):
        found = labels([answers[place] for place in order])
        same = {frozenset(order[p] for p in np.flatnonzero(np.array(found) == n)) for n in range(5)}
        assert same == partition


def test_words_and_numbers_are_never_asked_about(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(gold: str, answer: str) -> str:
        raise AssertionError(f"asked about {gold!r} and {answer!r}")

    monkeypatch.setattr(module, "same_expression", refuse)
    assert labels(["5", "6", "red", "blue", "", "12,5", "7"]) == [0, 1, 2, 3, 4, 5, 6]


def test_what_math_verify_does_not_settle_is_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[tuple[str, str]] = []

    def absent(gold: str, answer: str) -> str:
        asked.append((gold, answer))
        return "math_verify_absent"

    monkeypatch.setattr(module, "same_expression", absent)
    found = answer_classes(["x^2", "y^2", "z^2"], WRONG[:3])
    assert found.label.tolist() == [0, 1, 2] and found.uncompared == 3
    assert len(asked) == 6 and (asked[0][1], asked[0][0]) == asked[1]

    monkeypatch.setattr(module, "MOST_ASKED", 1)
    asked.clear()
    found = answer_classes(["x^2", "y^2", "z^2"], WRONG[:3])
    assert len(asked) == 2 and found.uncompared == 3


def test_the_same_in_one_direction_is_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    for direction in (("a^1", "b^1"), ("b^1", "a^1")):

        def one_way(gold: str, answer: str, way: tuple[str, str] = direction) -> str:
            return "same" if (gold, answer) == way else "different"

        monkeypatch.setattr(module, "same_expression", one_way)
        found = answer_classes(["b^1", "a^1"], WRONG[:2])
        assert found.label.tolist() == [0, 0] and found.uncompared == 0
