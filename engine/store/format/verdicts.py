"""The verdicts on a generated answer: their names, the codes that are stored, the words that people
read.

The one list of them: grading names a verdict, shards hold its code, reports show its words.
"""

from __future__ import annotations

from typing import Literal, NamedTuple

VerdictName = Literal["wrong", "correct", "no_answer_extracted", "no_gold_answer", "ambiguous"]

WRONG = 0
CORRECT = 1
NO_ANSWER_EXTRACTED = 2
NO_GOLD_ANSWER = 3
AMBIGUOUS = 4


class Verdict(NamedTuple):
    """One verdict: its `code` in the recorded variable `verdict`, and its name in words."""

    code: int
    words: str


VERDICTS: dict[VerdictName, Verdict] = {
    "wrong": Verdict(WRONG, "wrong"),
    "correct": Verdict(CORRECT, "correct"),
    "no_answer_extracted": Verdict(NO_ANSWER_EXTRACTED, "no answer found"),
    "no_gold_answer": Verdict(NO_GOLD_ANSWER, "no gold answer"),
    "ambiguous": Verdict(AMBIGUOUS, "a number that can be read two ways"),
}
"""In the order of their codes, which count from 0."""
