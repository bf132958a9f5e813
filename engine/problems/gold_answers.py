"""The gold answers of a record: by themselves or at the end of a worked solution, and the solution.

The first of several accepted answers is the gold answer whose tokens are recorded; grading counts
any.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, NamedTuple

from ..answers.boxed import last_boxed
from ..answers.numbers import parse_value
from .choices import Choices, right_letter
from .record import Record
from .values import RecordError, as_scalar, as_text, json_type, key_names

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
"""After `answer` and the end of a solution."""
REPLY_KEYS = ("output", "completion", "response")
SOLUTION_KEYS = ("solution", "Solution", "rationale", "Rationale")
PARTS = ("final_answer", "lSolutions", "answers_spans")
"""Keys whose lists are parts of one answer, all of which are asked for."""
BOOLEAN = {True: ("yes", "true"), False: ("no", "false")}
_NUMBER_WITH_UNIT = re.compile(r"(-?[\d.,/]+)\s*\([^)]*\)")
"""ASDiv's answers: `9 (apples)`."""


class Gold(NamedTuple):
    """Answers that count as right, none for a problem without a gold answer; the worked
    solution."""

    answers: list[str]
    solution: str | None


def read_gold(record: Record, *, reply: str | None, choices: Choices | None) -> Gold:
    """What a record says of its answer, `reply` being an assistant's.

    Raises RecordError for an answer that nothing can be graded against, and where there is neither
    an answer nor `"answer": null`.
    """
    solution = _solution(record)
    if choices is not None:
        letter, key = right_letter(record, choices)
        record.mark_read(key)
        return Gold([] if letter is None else [letter], solution)
    if record.get("answer") is not None:
        return _from_answer(record, solution or reply)
    return _from_other_keys(record, reply, solution or reply)


def _from_answer(record: Record, worked: str | None) -> Gold:
    value = record.read("answer")
    answers = accepted_answers(value, "answer")
    if isinstance(value, str) and "####" in value:
        return Gold(answers, worked or value)
    bare = _NUMBER_WITH_UNIT.fullmatch(answers[0])
    if bare and isinstance(record.get("body"), str):
        record.keep_as_column("answer")  # for the unit
        return Gold([bare[1]], worked)
    return Gold(answers, worked)


def _from_other_keys(record: Record, reply: str | None, worked: str | None) -> Gold:
    if worked is not None:
        answer = marked_answer(worked, "solution")
        if answer is not None:
            return Gold([answer], worked)

    key = record.first_key(ANSWER_KEYS)
    if key is not None:
        return Gold(accepted_answers(record.read(key), key), worked)

    key = record.first_key(REPLY_KEYS)
    if key is not None:
        text = as_text(record.read(key), key)
        return Gold([reply_answer(text, key)], worked or text)

    if "answer" in record:
        return Gold([], worked)
    if reply is not None:
        return Gold([reply_answer(reply, "the reply")], worked)
    raise RecordError(
        f"no `answer`; give null where there is no gold answer; its keys are {key_names(record)}"
    )


def _solution(record: Record) -> str | None:
    for key in SOLUTION_KEYS:
        value = record.get(key)
        if value is None or (value == "" and key != "solution"):
            continue
        record.mark_read(key)
        if isinstance(value, list) and value:
            parts = [as_text(part, f"{key}[{number}]") for number, part in enumerate(value)]
            return "\n\n".join(parts)
        return as_text(value, key)
    return None


def accepted_answers(value: Any, key: str) -> list[str]:
    """The answers that count as right, the first one first, without repetitions.

    `value` is a number, a text, yes or no, a list of them, or an object around them. Raises
    RecordError where it holds no answer.
    """
    if isinstance(value, bool):
        return list(BOOLEAN[value])
    if isinstance(value, Mapping):
        value = _unwrapped(value, key)
    if not isinstance(value, list):
        return [_answer(value, key)]
    if not value:
        raise RecordError(
            f"`{key}` holds no answer (in SQuAD 2.0: a question that cannot be answered); leave "
            'it out, or write "answer": null'
        )
    with_repetitions = [_answer(item, f"{key}[{number}]") for number, item in enumerate(value)]
    answers = list(dict.fromkeys(with_repetitions))
    if key in PARTS and len(answers) > 1:
        raise RecordError(
            f"`{key}` holds {len(answers)} parts of one answer, of which grading would need all; "
            "write one `answer`"
        )
    return answers


def marked_answer(text: str, key: str) -> str | None:
    r"""The answer behind the last `####` of a worked solution, else in its last `\boxed{}`; None
    without either."""
    if "####" in text:
        return _after_hashes(text, key)
    span = last_boxed(text)
    if span is None:
        return None
    start, end = span
    return as_text(text[start:end].strip(), f"\\boxed{{}} of the {key}")


def reply_answer(text: str, key: str) -> str:
    """The answer in what an assistant replies: marked, or the whole reply where it is one number or
    one word.

    Raises RecordError for any other text: nothing could ever be graded right against it.
    """
    marked = marked_answer(text, key)
    if marked is not None:
        return marked
    short = text.strip()
    is_one_word = not re.search(r"\s", short)
    if parse_value(short) is not None or is_one_word:
        return short
    raise RecordError(
        f"no `answer`, and {key} is a text of {len(short)} characters with neither #### nor "
        "\\boxed{}, against which nothing can be graded; give `answer`, null where there is none"
    )


def _unwrapped(value: Mapping[str, Any], key: str) -> Any:
    """TriviaQA's value and aliases, SQuAD's texts, DROP's spans, verl's ground truth."""
    if value.get("value") is not None:
        aliases = value.get("aliases")
        return [value["value"], *(aliases if isinstance(aliases, list) else [])]
    for name in ("text", "spans", "ground_truth"):
        if value.get(name) is not None:
            return value[name]
    raise RecordError(
        f"`{key}` is a JSON object without `value`, `text`, `spans` or `ground_truth`, expected a "
        "string, a number, a list of accepted answers, or null"
    )


def _answer(value: Any, key: str) -> str:
    """One answer as text, without what stands around it."""
    if isinstance(value, list | Mapping):
        raise RecordError(
            f"`{key}` is a JSON {json_type(value)}, expected a string, a number or null"
        )
    answer = as_scalar(value, key)
    if "####" in answer:
        return _after_hashes(answer, key)
    is_formula = len(answer) > 2 and answer[0] == answer[-1] == "$" and answer.count("$") == 2
    if is_formula and key.startswith("final_answer"):
        return as_text(answer[1:-1].strip(), key)  # OlympiadBench writes every answer as a formula
    return answer


def _after_hashes(text: str, key: str) -> str:
    answer = text.rpartition("####")[2].strip()
    if not answer:
        raise RecordError(f"nothing after the last #### of `{key}`")
    return answer
