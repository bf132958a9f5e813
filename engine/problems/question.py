"""What a record asks: its question, behind its passage and before its choices."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from .choices import Choices, choices_of, with_choices
from .record import Record
from .values import RecordError, as_text, key_names

QUESTION_KEYS = (
    "question",
    "problem",
    "Question",
    "Problem",
    "question_stem",
    "sQuestion",
    "ctx",
    "goal",
    "sentence",
    "instruction",
    "input",
    "query",
    "prompt",
)
PASSAGE_KEYS = ("context", "passage", "article", "Body", "body")
_SAME_PARAGRAPH = ("Body", "body")
"""Passages that the question goes on with in the same line."""
_PLACE_HOLDER = re.compile(r"\b(?:number\d+|N_\d+)\b")
"""MAWPS and its kin: the numbers of the question stand apart, in `Numbers`."""


def read_question(record: Record) -> tuple[str, Choices | None]:
    """Passage, question and choices in this order, a blank line between them. Raises
    RecordError."""
    key = record.first_key(QUESTION_KEYS)
    if key is None:
        raise RecordError(
            f"no `question` (nor `problem`, nor `messages`); its keys are {key_names(record)}"
        )
    value = record.read(key)
    beside: Mapping[str, Any] = record
    if isinstance(value, Mapping) and "stem" in value:
        # The AI2 Reasoning Challenge as it was published: question and choices in one object.
        beside = {**record, **value}
        value = value["stem"]
    question = as_text(value, key)
    if "Numbers" in record and (place_holder := _PLACE_HOLDER.search(question)):
        raise RecordError(
            f"`{key}` has the place holder {place_holder[0]}; write the numbers of `Numbers` into "
            "it"
        )
    if key == "instruction":
        question = _with_input(question, record)
    question = _with_passage(question, record)

    choices = choices_of(beside)
    if choices is None:
        return question, None
    for choice_key in choices.keys:
        record.mark_read(choice_key)
    return with_choices(question, choices), choices


def _with_input(instruction: str, record: Record) -> str:
    """alpaca's instruction and what it is to be followed on."""
    value = record.get("input")
    if not isinstance(value, str) or not value.strip():
        return instruction
    return f"{instruction}\n\n{as_text(record.read('input'), 'input')}"


def _with_passage(question: str, record: Record) -> str:
    for key in PASSAGE_KEYS:
        passage = record.get(key)
        if isinstance(passage, str) and passage.strip():
            between = " " if key in _SAME_PARAGRAPH else "\n\n"
            return f"{as_text(record.read(key), key).strip()}{between}{question}"
    return question
