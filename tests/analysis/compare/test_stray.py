"""How far a run strays: the first other token by hand and by a slow twin, equal answers, and what
cannot be compared."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import pytest
from compared_runs import NEVER, generations, one_a_step

from diffengine.analysis.compare.generations import Generations, commit_steps
from diffengine.analysis.compare.stray import equal_answers, first_divergence, stray


def test_the_first_other_token_by_hand() -> None:
    exact = one_a_step([[1, 2, 3, 4]] * 4)
    fast = generations(
        "fast",
        [[1, 2, 3, 4], [1, 2, 3, 7], [8, 2, 3, 7], [1, 2, 3, 4]],
        [[0, 0, 1, 1], [0, 0, 1, 1], [2, 0, 1, 1], [0, 0, 1, NEVER]],
    )
    result = stray(exact, fast)
    assert result.divergence.tolist() == [math.inf, 1, 1, math.inf]
    assert result.same_text.tolist() == [1, 0, 0, 1]
    assert (result.undefined, result.other_content) == ("", 0)


def test_the_same_tokens_in_another_order_never_diverge() -> None:
    exact = one_a_step([[1, 2, 3]])
    fast = generations("fast", [[1, 2, 3]], [[2, 1, 0]])
    assert stray(exact, fast).divergence.tolist() == [math.inf]


def test_a_position_that_the_reference_left_masked_says_nothing() -> None:
    exact = generations("exact", [[1, 5]], [[0, NEVER]])
    fast = generations("fast", [[1, 2]], [[0, 0]])
    assert stray(exact, fast).divergence.tolist() == [math.inf]


def slow_divergence(
    token: np.ndarray, committed: np.ndarray, other: np.ndarray, step: np.ndarray
) -> list[float]:
    """Step by step and position by position, as one would by hand."""
    result = []
    for row in range(len(token)):
        first = math.inf
        for now in range(int(step.max(initial=0)) + 1):
            for position in range(token.shape[1]):
                wrong = other[row, position] != token[row, position]
                if step[row, position] == now and committed[row, position] and wrong:
                    first = min(first, now)
        result.append(first)
    return result


def test_a_slow_twin_agrees() -> None:
    rng = np.random.default_rng(1)
    for _ in range(30):
        shape = (5, int(rng.integers(1, 9)))
        token = rng.integers(0, 3, shape)
        other = np.where(rng.random(shape) < 0.7, token, rng.integers(0, 3, shape))
        committed = rng.random(shape) < 0.9
        step = rng.integers(-1, 6, shape)
        result = first_divergence(token, committed, other, step)
        assert result.tolist() == slow_divergence(token, committed, other, step)


@pytest.mark.parametrize(
    ("answer", "other", "equal"),
    [
        ("72", "72", 1.0),
        ("72", "72.0", 1.0),
        ("1,200", "1200", 1.0),
        ("72", "73", 0.0),
        ("Paris", " paris.", 1.0),
        ("72", "", 0.0),
        ("", "72", 0.0),
    ],
)
def test_equal_answers(answer: str, other: str, equal: float) -> None:
    assert equal_answers(answer, other) == equal


def test_two_texts_without_an_answer_are_no_pair() -> None:
    assert math.isnan(equal_answers("", ""))


def test_problems_are_paired_by_id_and_content() -> None:
    exact = one_a_step([[1], [2], [3]], keys=["a", "b", "c"])
    fast = one_a_step([[3], [1], [4]], keys=["c", "a", "d"], name="fast")
    fast = fast._replace(keys=[*fast.keys[:1], ("a", "another question"), fast.keys[2]])
    result = stray(exact, fast)
    assert result.rows.tolist() == [[2, 0]]
    assert result.other_content == 1
    assert result.divergence.tolist() == [math.inf]


@dataclass(frozen=True)
class Case:
    other: Generations
    why: str


@pytest.mark.parametrize(
    "case",
    [
        Case(one_a_step([[1, 2, 3]], name="long"), "gen_length is 2 in exact and 3 in long"),
        Case(one_a_step([[1, 2]], name="other", fingerprint="x"), "of different models"),
    ],
)
def test_what_has_no_positions_in_common(case: Case) -> None:
    result = stray(one_a_step([[1, 2]]), case.other)
    assert case.why in result.undefined
    assert np.isnan(result.divergence).all()
    assert result.same_text.tolist() == [float(case.other.text == ["1 2"])]


def test_commit_steps_are_those_of_the_final_token() -> None:
    committed = np.zeros((1, 3, 2), np.uint8)
    committed[0, 1, 0] = 1
    assert commit_steps(committed).tolist() == [[1, NEVER]]
    revised = np.zeros((1, 3, 2), np.uint8)
    revised[0, 2, 0] = 1
    assert commit_steps(committed, revised).tolist() == [[2, NEVER]]
