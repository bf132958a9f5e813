"""The accepted answers in a record's value: a number, a text, yes or no, a list of them, or an
object around them.

The first of several is the gold answer whose tokens are recorded; grading counts any. Knows nothing
of choices.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from ..answers.numbers import parse_value
from .values import RecordError, as_scalar, as_text, json_type

PARTS = ("final_answer", "lSolutions", "answers_spans")
"""Keys whose lists are parts of one answer, all of which are asked for."""
BOOLEAN = {True: ["yes", "true"], False: ["no", "false"]}
_BRACES = re.compile(r"\\(?:boxed|fbox)\s*\{|\\.|[{}]", re.DOTALL)


def accepted_answers(value: Any, key: str) -> list[str]:
    """The answers that count as right, the first one first, without repetitions. Raises RecordError
    where none is."""
    if isinstance(value, bool):
        return BOOLEAN[value]
    if isinstance(value, Mapping):
        value = _unwrapped(value, key)
    if not isinstance(value, list):
        return [_one(value, key)]
    if not value:
        raise RecordError(
            f"`{key}` holds no answer (in SQuAD 2.0: a question that cannot be answered); leave "
            "it out, "
            'or write "answer": null'
        )
    answers = list(dict.fromkeys(_one(item, f"{key}[{place}]") for place, item in enumerate(value)))
    if key in PARTS and len(answers) > 1:
        raise RecordError(
            f"`{key}` holds {len(answers)} parts of one answer, of which grading would need all; "
            "write one `answer`"
        )
    return answers


def last_boxed(text: str) -> tuple[int, int] | None:
    r"""The character span of the content of the last complete `\boxed{...}` (or `\fbox{...}`),
    braces nested.

    An escaped brace (`\{`) counts for nothing; a box that is never closed is passed over for the
    one before it.
    """
    last: tuple[int, int] | None = None
    opened: list[int | None] = []
    for token in _BRACES.finditer(text):
        if token[0] == "}":
            start = opened.pop() if opened else None
            if start is not None and (last is None or start > last[0]):
                last = start, token.start()
        elif token[0].endswith("{") and token[0] != "\\{":
            opened.append(token.end() if len(token[0]) > 1 else None)
    return last


def marked_answer(text: str, key: str) -> str | None:
    r"""The answer behind the last `####` of a worked solution, else in its last `\boxed{}`; None
    without either."""
    if "####" in text:
        return _after_hashes(text, key)
    span = last_boxed(text)
    return (
        None if span is None else as_text(text[slice(*span)].strip(), f"\\boxed{{}} of the {key}")
    )


def reply_answer(text: str, key: str) -> str:
    """The answer in what an assistant replies: marked, or the whole reply where it is one number or
    one word.

    Raises RecordError for any other text: nothing could ever be graded right against it.
    """
    marked = marked_answer(text, key)
    if marked is not None:
        return marked
    short = text.strip()
    if parse_value(short) is not None or not re.search(r"\s", short):
        return short
    raise RecordError(
        f"no `answer`, and {key} is a text of {len(short)} characters with neither #### nor "
        f"\\boxed{{}}, "
        "against which nothing can be graded; give `answer`, null where there is none"
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


def _one(value: Any, key: str) -> str:
    if isinstance(value, list | Mapping):
        raise RecordError(
            f"`{key}` is a JSON {json_type(value)}, expected a string, a number or null"
        )
    answer = as_scalar(value, key)
    if "####" in answer:
        return _after_hashes(answer, key)
    if (
        key.startswith("final_answer")
        and len(answer) > 2
        and answer.count("$") == 2
        and answer[0] == answer[-1] == "$"
    ):
        return as_text(answer[1:-1].strip(), key)  # OlympiadBench writes every answer as a formula
    return answer


def _after_hashes(text: str, key: str) -> str:
    answer = text.rpartition("####")[2].strip()
    if not answer:
        raise RecordError(f"nothing after the last #### of `{key}`")
    return answer
