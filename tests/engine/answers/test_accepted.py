"""Several accepted answers: any counts, none by a weaker reading; and one is graded as ever."""

from __future__ import annotations

import pytest

from diffengine.engine.answers.accepted import STRENGTH, grade_any
from diffengine.engine.answers.grade import grade

TEXTS = ["The answer is Sunset Boulevard.", "so #### 14", "so \\boxed{fourteen}", "14 of them left, the "
                                                                                  "answer "
                                                                                  "is "
                                                                                  "red.",
         "no answer here", "", "It is 14 in the end", "The answer is (B)."]  # fmt: skip


@pytest.mark.parametrize("text", TEXTS)
@pytest.mark.parametrize("answers", [(), ("14",), ("Sunset Boulevard",), ("B",)])
def test_one_answer_is_graded_as_ever(text: str, answers: tuple[str, ...]) -> None:
    assert grade_any(text, answers) == grade(text, answers[0] if answers else None)


@pytest.mark.parametrize(("text", "answers", "verdict"), [
    ("The answer is Sunset Boulevard.", ("Sunset Blvd", "Sunset Boulevard"), "correct"),
    ("The answer is Sunset Strip.", ("Sunset Blvd", "Sunset Boulevard"), "wrong"),
    ("so #### 14", ("fourteen", "14"), "correct"),
    ("so #### fourteen", ("14", "fourteen"), "correct"),
    ("so \\boxed{14}", ("fourteen", "14"), "correct"),
    # 14 stands last, but the text says another answer: a number in passing does not make it right
    ("The answer is fifteen. There were 14.", ("fourteen", "14"), "wrong"),
    ("It must be 14", ("fourteen", "14"), "correct"),
    ("nothing", ("fourteen", "14"), "no_answer_extracted"),
    ("The answer is yes.", ("yes", "true"), "correct"),
    ("The answer is True.", ("yes", "true"), "correct"),
    ("The answer is no.", ("yes", "true"), "wrong"),
])  # fmt: skip
def test_any_accepted_answer_counts(text: str, answers: tuple[str, ...], verdict: str) -> None:
    found = grade_any(text, answers)
    assert found.verdict == verdict
    assert text[found.start : found.end] == found.extracted or found.start == -1
    assert found.lm_eval_strict == any(grade(text, answer).lm_eval_strict for answer in answers)


def test_every_rule_of_grading_has_a_strength() -> None:
    met = {
        grade(text, gold).rule.partition(":")[0] for text in TEXTS for gold in ("14", "red", "B")
    }
    assert met <= set(STRENGTH) and len(met) == len(STRENGTH)
