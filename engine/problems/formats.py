"""One record of a problem file, whichever of the known forms it has, brought to one form: `Fields`.

The forms are those of docs/problems.md: a question, its choices and its passage under the keys that
public data sets use, or a conversation; its answer, or several accepted ones, by itself or at the
end of a worked solution. Knows nothing of files, line numbers, or of ids other than the one that
the record itself names.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, NamedTuple

from .answers import accepted_answers, last_boxed, marked_answer, reply_answer
from .choices import Choices, choices_of, right_letter, with_choices
from .messages import read_messages
from .values import RecordError, as_column, as_text, json_type, key_names

__all__ = ["Fields", "RecordError", "last_boxed", "parse_record"]

ID_KEYS = ("id", "unique_id", "problem_id")
OTHER_ID_KEYS = ("ID", "iIndex")
"""Ids in files whose question stands under a key of its own spelling (SVAMP, AIME, MAWPS)."""
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
MESSAGE_KEYS = ("messages", "conversations", "conversation", "prompt")
ANSWER_KEYS = (
    "final_answer",
    "Answer",
    "answers",
    "target",
    "targets",
    "final_ans",
    "answer_number",
    "lSolutions",
    "answers_spans",
    "expected_answer",
    "ground_truth",
    "reward_model",
)
REPLY_KEYS = ("output", "completion", "response")
SOLUTION_KEYS = ("solution", "Solution", "rationale", "Rationale")
PROGRAM_KEYS = (
    "test_list",
    "entry_point",
    "canonical_solution",
    "input_output",
    "test_cases",
    "public_tests",
)
LIST_KEYS = ("data", "examples", "rows", "train", "test", "validation", "problems")
NORMAL_FORM = {"id", "question", "answer", "messages", "solution", "source", "line"}
"""The keys of a run's problems.jsonl."""


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
    messages: tuple[Mapping[str, str], ...] | None
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
        return _fields({str(key): value for key, value in record.items()})
    except RecursionError:
        raise RecordError("nested too deeply to be read") from None


def _fields(record: dict[str, Any]) -> Fields:
    _refuse_what_is_no_question(record)
    used: set[str] = set(NORMAL_FORM if NORMAL_FORM <= set(record) else ())
    messages, reply = _messages(record, used)
    if messages is not None:
        question = messages[-1]["content"]
        choices = None
    else:
        question, choices = _question(record, used)
    answers, solution = _gold(record, used, reply, choices)
    explicit_id = _explicit_id(record, used)
    instance = str(record["instance"]) if isinstance(record.get("instance"), str | int) else None
    if answers and NORMAL_FORM <= set(record) and isinstance(record.get("accepted"), list):
        used.add("accepted")
        answers += [as_text(other, "accepted") for other in record["accepted"]]
    columns = _columns(record, used)
    answer, accepted = (answers[0], tuple(answers[1:])) if answers else (None, ())
    return Fields(explicit_id, question, answer, messages, solution, accepted, columns, instance)


def _refuse_what_is_no_question(record: Mapping[str, Any]) -> None:
    """Records of forms that are known and not read, each with its reason."""
    if record.get("answer") is not None:
        return
    for key in PROGRAM_KEYS:
        if key in record:
            raise RecordError(
                f"a programming task (`{key}`): its answer is a program that would have to be "
                "run, which diffengine "
                "does not do; leave such problems out"
            )
    if "Correct Answer" in record and "Incorrect Answer 1" in record:
        raise RecordError(
            "right and wrong answers without an order (GPQA's form); write `choices` and the "
            "right letter as `answer`"
        )
    if not any(record.get(key) is not None for key in (*QUESTION_KEYS, *MESSAGE_KEYS)):
        for key in LIST_KEYS:
            if isinstance(record.get(key), list):
                raise RecordError(
                    f"an object that holds its records in the list `{key}`; write that list "
                    "alone, or one record a line"
                )


def _messages(
    record: Mapping[str, Any], used: set[str]
) -> tuple[tuple[Mapping[str, str], ...] | None, str | None]:
    """The conversation and the reply to it; `messages` first, the other keys where no question
    stands beside."""
    has_question = record.get("question") is not None or record.get("problem") is not None
    for key in MESSAGE_KEYS:
        value = record.get(key)
        if (
            value is None
            or (key != "messages" and has_question)
            or (key == "prompt" and isinstance(value, str))
        ):
            continue
        used.add(key)
        return read_messages(value, key)
    return None, None


def _question(record: Mapping[str, Any], used: set[str]) -> tuple[str, Choices | None]:
    """What is asked: passage, question and choices in this order, a blank line between them."""
    key = next((key for key in QUESTION_KEYS if record.get(key) is not None), None)
    if key is None:
        raise RecordError(
            f"no `question` (nor `problem`, nor `messages`); its keys are {key_names(record)}"
        )
    value = record[key]
    holder = record
    used.add(key)
    if (
        isinstance(value, Mapping) and "stem" in value
    ):  # the AI2 Reasoning Challenge as it was published
        value, holder = value["stem"], value
    question = as_text(value, key)
    if "Numbers" in record and (place := re.search(r"\b(?:number\d+|N_\d+)\b", question)):
        raise RecordError(
            f"`{key}` has the place holder {place[0]}; write the numbers of `Numbers` into it"
        )
    if key == "instruction" and isinstance(more := record.get("input"), str) and more.strip():
        used.add("input")
        question = f"{question}\n\n{as_text(more, 'input')}"
    for name in PASSAGE_KEYS:
        passage = record.get(name)
        if isinstance(passage, str) and passage.strip():
            used.add(name)
            between = " " if name in ("Body", "body") else "\n\n"
            question = f"{as_text(passage, name).strip()}{between}{question}"
            break
    choices = choices_of({**record, **holder} if holder is not record else record)
    if choices is None:
        return question, None
    used.update(choices.keys)
    return with_choices(question, choices), choices


def _gold(
    record: Mapping[str, Any], used: set[str], reply: str | None, choices: Choices | None
) -> tuple[list[str], str | None]:
    """The accepted answers, none for a problem without gold, and the worked solution."""
    solution = _solution(record, used)
    if choices is not None:
        letter, key = right_letter(record, choices)
        used.add(key)
        return [] if letter is None else [letter], solution
    return _open_gold(record, used, reply, solution)


def _open_gold(
    record: Mapping[str, Any], used: set[str], reply: str | None, solution: str | None
) -> tuple[list[str], str | None]:
    if (value := record.get("answer")) is not None:
        used.add("answer")
        answers = accepted_answers(value, "answer")
        if isinstance(value, str) and "####" in value:
            return answers, solution or reply or value
        if isinstance(record.get("body"), str) and (
            bare := re.fullmatch(r"(-?[\d.,/]+)\s*\([^)]*\)", answers[0])
        ):
            used.discard("answer")  # ASDiv: `9 (apples)`, whose unit stays in the column
            answers = [bare[1]]
        return answers, solution or reply
    worked = solution or reply
    if worked is not None and (answer := marked_answer(worked, "solution")) is not None:
        return [answer], worked
    for key in ANSWER_KEYS:
        if record.get(key) is not None:
            used.add(key)
            return accepted_answers(record[key], key), worked
    for key in REPLY_KEYS:
        if record.get(key) is not None:
            used.add(key)
            text = as_text(record[key], key)
            return [reply_answer(text, key)], worked or text
    if "answer" in record:
        return [], worked
    if reply is not None:
        return [reply_answer(reply, "the reply")], worked
    raise RecordError(
        f"no `answer`; give null where there is no gold answer; its keys are {key_names(record)}"
    )


def _solution(record: Mapping[str, Any], used: set[str]) -> str | None:
    for key in SOLUTION_KEYS:
        value = record.get(key)
        if value is None or (value == "" and key != "solution"):
            continue
        used.add(key)
        if isinstance(value, list) and value:
            return "\n\n".join(as_text(part, f"{key}[{place}]") for place, part in enumerate(value))
        return as_text(value, key)
    return None


def _explicit_id(record: Mapping[str, Any], used: set[str]) -> str | None:
    own = (
        record.get("question") is None
        and record.get("problem") is None
        and record.get("messages") is None
    )
    for key in (*ID_KEYS, *(OTHER_ID_KEYS if own else ())):
        value = record.get(key)
        if value is None:
            continue
        if isinstance(value, bool) or not isinstance(value, str | int):
            raise RecordError(
                f"`{key}` is a JSON {json_type(value)}, expected a string or a whole number"
            )
        name = as_text(str(value), key).strip()
        if not name.isprintable():
            raise RecordError(f"`{key}` {name!r} holds a character that cannot be printed")
        used.add(key)
        return name
    return None


def _columns(record: Mapping[str, Any], used: set[str]) -> dict[str, Any]:
    """Whatever the fields do not hold: subject, level, type, ...; in a run's problems.jsonl they
    are apart already."""
    rest = {
        key: as_column(value)
        for key, value in record.items()
        if key not in used and value is not None
    }
    if NORMAL_FORM <= set(record) and isinstance(rest.get("columns"), dict):
        rest |= rest.pop("columns")
    return rest
