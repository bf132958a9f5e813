"""Distractors are other problems' gold answers of the same number of tokens, the same whoever
asks."""

from __future__ import annotations

from diffengine.engine.likelihood.distractors import Distractors
from diffengine.engine.models.loading import MaskedDiffusionModel
from diffengine.engine.problems.read import Problem

ANSWERS = ["8", "9", "9", "7", "12", "34", "56", "1,204", None, ""]
PROBLEMS = [Problem(id=f"p{i}", question="?", answer=answer) for i, answer in enumerate(ANSWERS)]


def tokens(model: MaskedDiffusionModel, text: str) -> tuple[int, ...]:
    return tuple(model.tokenizer.encode(text, add_special_tokens=False))


def test_they_are_as_long_and_never_the_answer_itself(bundled_model: MaskedDiffusionModel) -> None:
    pool = Distractors(PROBLEMS, bundled_model)
    for text in filter(None, ANSWERS):
        answer = tokens(bundled_model, text)
        like = {tokens(bundled_model, other) for other in ANSWERS if other}
        expected = {other for other in like if len(other) == len(answer)} - {answer}
        drawn = pool.draw("p0", answer, 99)
        assert set(drawn) == expected and len(drawn) == len(expected)
        assert len(pool.draw("p0", answer, 1)) == min(1, len(expected))
    assert pool.draw("p0", (1,) * 50, 3) == []


def test_they_depend_on_id_and_seed_alone(bundled_model: MaskedDiffusionModel) -> None:
    digits = [Problem(id=str(i), question="?", answer=str(i)) for i in range(10)]
    one, other = (Distractors(problems, bundled_model) for problems in (digits, digits[::-1]))
    answer = tokens(bundled_model, "4")
    assert one.draw("a", answer, 3) == other.draw("a", answer, 3)
    draws = {tuple(one.draw(name, answer, 3, seed=seed)) for name in "abcd" for seed in (0, 1)}
    assert len(draws) > 4
