"""Generated problems: right by their own arithmetic, held out by their text, and within the range
the model knows."""

from __future__ import annotations

import itertools
import re

import pytest

from diffengine.engine.models.bundled.generator import HELD_OUT_SHARE, is_held_out, word_problems


def test_every_equation_holds_and_leads_to_the_answer() -> None:
    for problem in itertools.islice(word_problems(0, held_out=False), 3000):
        *equations, last = problem.solution.split("\n")
        assert len(equations) == problem.n_steps
        value = None
        for equation in equations:
            left, sign, right, result = re.match(
                r"(\d+)([-+*])(\d+)=(\d+) \w+\.$", equation
            ).groups()  # type: ignore[union-attr]
            value = {
                "+": int(left) + int(right),
                "-": int(left) - int(right),
                "*": int(left) * int(right),
            }[sign]
            assert value == int(result) > 0
        assert last == f"#### {problem.answer}"
        assert value == problem.answer


def test_every_number_of_the_question_is_used() -> None:
    for problem in itertools.islice(word_problems(1, held_out=False), 1000):
        used = re.findall(r"\d+", problem.solution)
        assert set(re.findall(r"\d+", problem.question)) <= set(used)


@pytest.mark.parametrize("seed", [0, "another"])
def test_held_out_questions_are_never_trained_on(seed: int | str) -> None:
    held = {p.question for p in itertools.islice(word_problems(seed, held_out=True), 1000)}
    assert len(held) == 1000
    assert all(map(is_held_out, held))
    trained = {
        p.question for p in itertools.islice(word_problems(f"train {seed}", held_out=False), 20000)
    }
    assert not held & trained


def test_the_split_has_its_share() -> None:
    drawn = {
        p.question
        for held in (True, False)
        for p in itertools.islice(word_problems(5, held_out=held), 500)
    }
    assert len(drawn) > 900
    share = sum(is_held_out(f"question {i}") for i in range(16000)) / 16000
    assert share == pytest.approx(1 / HELD_OUT_SHARE, rel=0.15)


def test_a_stream_is_its_seed() -> None:
    first, again, other = (
        [p.question for p in itertools.islice(word_problems(s, held_out=True), 50)]
        for s in (3, 3, 4)
    )
    assert first == again != other
