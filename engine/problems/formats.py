"""One record of a problem file, whichever of the known forms it has, brought to one form: `Fields`.

The forms are those of docs/problems.md: a question, its choices and its passage under the keys that
public data sets use, or a conversation; its answer, or several accepted ones, by itself or at the
end of a worked solution.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

from .gold_answers import read_gold
from .messages import MESSAGE_KEYS, Messages, read_conversation
from .question import QUESTION_KEYS, read_question
from .record import Record
from .values import RecordError, as_text, json_type

ID_KEYS = ("id", "unique_id", "problem_id")
OTHER_ID_KEYS = ("ID", "iIndex")
"""Ids in files whose question stands under a key of its own spelling (SVAMP, AIME, MAWPS)."""
PROGRAM_KEYS = (
    "test_list",
    "entry_point",
    "canonical_solution",
    "input_output",
    "test_cases",
    "public_tests",
)
LIST_KEYS = ("data", "examples", "rows", "train", "test", "validation", "problems")


class Fields(NamedTuple):
    """What a record says. `explicit_id` and `messages` are None where it says nothing, `answer`
    without a gold.

    `accepted` are answers that count as right besides `answer`; `columns` is whatever else the
    record holds. `instance` tells records with the same id apart where a data set draws several
    problems from each of its own.
    """

    explicit_id: str | None
    question: str
    answer: str | None
    messages: Messages | None
    solution: str | None
    accepted: tuple[str, ...] = ()
    columns: Mapping[str, Any] = {}
    instance: str | None = None


def parse_record(record: object) -> Fields:
    """The fields of one decoded value.

    Raises RecordError with the reason if it is not an object, names no question, has a field of a
    wrong type, or holds neither an answer nor `"answer": null`.
    """
    if not isinstance(record, Mapping):
        raise RecordError(
            f"a JSON {json_type(record)}, expected an object like "
            '{"question": ..., "answer": ...}'
        )
    try:
        return _fields(Record(record))
    except RecursionError:
        raise RecordError("nested too deeply to be read") from None


def _fields(record: Record) -> Fields:
    _refuse_what_is_no_question(record)
    messages, reply = read_conversation(record)
    if messages is not None:
        question = messages[-1]["content"]
        choices = None
    else:
        question, choices = read_question(record)

    gold = read_gold(record, reply=reply, choices=choices)
    explicit_id = _explicit_id(record)
    answers = [*gold.answers, *_accepted_apart(record, gold.answers)]
    return Fields(
        explicit_id,
        question,
        answers[0] if answers else None,
        messages,
        gold.solution,
        accepted=tuple(answers[1:]),
        columns=record.columns(),
        instance=_instance(record),
    )


def _refuse_what_is_no_question(record: Record) -> None:
    """Records of forms that are known and not read, each with its reason."""
    if record.get("answer") is not None:
        return
    for key in PROGRAM_KEYS:
        if key in record:
            raise RecordError(
                f"a programming task (`{key}`): its answer is a program that would have to be "
                "run, which diffengine does not do; leave such problems out"
            )
    if "Correct Answer" in record and "Incorrect Answer 1" in record:
        raise RecordError(
            "right and wrong answers without an order (GPQA's form); write `choices` and the right "
            "letter as `answer`"
        )
    if record.first_key((*QUESTION_KEYS, *MESSAGE_KEYS)) is not None:
        return
    for key in LIST_KEYS:
        if isinstance(record.get(key), list):
            raise RecordError(
                f"an object that holds its records in the list `{key}`; write that list "
                "alone, or one record a line"
            )


def _accepted_apart(record: Record, answers: list[str]) -> list[str]:
    """The accepted answers besides the gold one, as a run's problems.jsonl has them."""
    if not answers or not record.is_normal_form or not isinstance(record.get("accepted"), list):
        return []
    return [as_text(answer, "accepted") for answer in record.read("accepted")]


def _instance(record: Record) -> str | None:
    value = record.get("instance")
    return str(value) if isinstance(value, str | int) else None


def _explicit_id(record: Record) -> str | None:
    has_plain_question = record.first_key(("question", "problem", "messages")) is not None
    keys = ID_KEYS if has_plain_question else (*ID_KEYS, *OTHER_ID_KEYS)
    key = record.first_key(keys)
    if key is None:
        return None
    value = record[key]
    if isinstance(value, bool) or not isinstance(value, str | int):
        raise RecordError(
            f"`{key}` is a JSON {json_type(value)}, expected a string or a whole number"
        )
    name = as_text(str(value), key).strip()
    if not name.isprintable():
        raise RecordError(f"`{key}` {name!r} holds a character that cannot be printed")
    record.mark_read(key)
    return name
