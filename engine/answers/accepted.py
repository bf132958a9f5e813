"""Grading against several accepted answers: any of them counts, and none by a weaker reading of the
text than another.

One accepted answer is graded as `grade.grade` grades it.
"""

from __future__ import annotations

from collections.abc import Sequence

from .grade import Grade, grade

STRENGTH = ("boxed", "hashes", "answer_is", "last_number", "")
"""Rules by which an answer is found, the surest first; the empty one found nothing."""


def grade_any(text: str, answers: Sequence[str]) -> Grade:
    """The grade of `text` against whichever of the accepted `answers` it gives, else against the
    first.

    An alias that is a number is looked for as the last number of a text; where another answer was
    found by a marker, that reading counts for nothing, so that a number in passing does not make a
    text right. lm-eval's verdicts hold for any answer. Without answers only the text's own answer
    is found.
    """
    if len(answers) < 2:
        return grade(text, answers[0] if answers else None)
    grades = [grade(text, answer) for answer in answers]
    surest = min(_strength(result) for result in grades)
    by_surest_rule = [result for result in grades if _strength(result) == surest]
    correct = [result for result in by_surest_rule if result.verdict == "correct"]
    best = correct[0] if correct else by_surest_rule[0]
    return best._replace(
        lm_eval_strict=any(result.lm_eval_strict for result in grades),
        lm_eval_flexible=any(result.lm_eval_flexible for result in grades),
    )


def _strength(result: Grade) -> int:
    rule = result.rule.partition(":")[0]
    return STRENGTH.index(rule) if rule in STRENGTH else len(STRENGTH) - 1
