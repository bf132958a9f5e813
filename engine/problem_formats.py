"""One JSON record of a problem file, whichever of the known forms it has, brought to one form: `Fields`.

Known forms: the list form (`question`, `answer`), GSM8K (an `answer` that ends in `#### 72`), MATH (`problem`,
`solution`, `answer`) and chat (`messages`, with `answer` beside it or in the reply). Knows nothing of files, line
numbers, or of ids other than the one that the record itself names.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from typing import NamedTuple

ID_KEYS = ("id", "unique_id", "problem_id")
ROLES = ("system", "user", "assistant")
_EXACT_FLOAT = 2.0**53
_BRACES = re.compile(r"\\(?:boxed|fbox)\s*\{|\\.|[{}]", re.DOTALL)


class RecordError(ValueError):
    """Why a record is not a problem, in words for whoever wrote the file."""


class Fields(NamedTuple):
    """What a record says. `explicit_id` and `messages` are None where it says nothing, `answer` without a gold."""

    explicit_id: str | None
    question: str
    answer: str | None
    messages: tuple[Mapping[str, str], ...] | None
    solution: str | None


def parse_record(record: object) -> Fields:
    """The fields of one decoded JSON value.

    Raises RecordError with the reason if it is not an object, names no question, has a field of a wrong type, or
    holds neither an answer nor `"answer": null`.
    """
    if not isinstance(record, Mapping):
        raise RecordError(f'a JSON {_json_type(record)}, expected an object like {{"question": ..., "answer": ...}}')
    messages, reply = _messages(record)
    question = messages[-1]["content"] if messages else _question(record)
    answer, solution = _gold(record, reply)
    return Fields(_explicit_id(record), question, answer, messages, solution)


def last_boxed(text: str) -> tuple[int, int] | None:
    r"""The character span of the content of the last complete `\boxed{...}` (or `\fbox{...}`), braces nested.

    An escaped brace (`\{`) counts for nothing; a box that is never closed is passed over for the one before it.
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


def _question(record: Mapping[str, object]) -> str:
    for key in ("question", "problem"):
        if record.get(key) is not None:
            return _text(record[key], key)
    raise RecordError(f"no `question` (nor `problem`, nor `messages`); its keys are {_names(record)}")


def _messages(record: Mapping[str, object]) -> tuple[tuple[Mapping[str, str], ...] | None, str | None]:
    """The conversation up to its last user message, and the assistant's reply to that one if there is any."""
    raw = record.get("messages")
    if raw is None:
        return None, None
    if not isinstance(raw, list):
        raise RecordError(f'`messages` is a JSON {_json_type(raw)}, expected a list of {{"role": ..., "content": ...}}')
    turns = [_message(entry, number) for number, entry in enumerate(raw, 1)]
    last = max((at for at, turn in enumerate(turns) if turn["role"] == "user"), default=None)
    if last is None:
        raise RecordError('`messages` holds no message with the role "user"')
    return tuple(turns[: last + 1]), "\n".join(turn["content"] for turn in turns[last + 1 :]) or None


def _message(entry: object, number: int) -> dict[str, str]:
    if not isinstance(entry, Mapping):
        raise RecordError(f"message {number} is a JSON {_json_type(entry)}, expected an object with role and content")
    role = entry.get("role")
    if role not in ROLES:
        raise RecordError(f"message {number} has the role {role!r}, expected one of {', '.join(ROLES)}")
    return {"role": str(role), "content": _text(entry.get("content"), f"messages[{number - 1}].content")}


def _gold(record: Mapping[str, object], reply: str | None) -> tuple[str | None, str | None]:
    """The gold answer and the worked solution: from `answer`, else from the solution's `####` or last box."""
    solution = record.get("solution")
    solution = reply if solution is None else _text(solution, "solution")
    answer = _scalar(record["answer"], "answer") if record.get("answer") is not None else None
    if answer is not None and "####" in answer:
        return _after_hashes(answer, "answer"), solution or str(record["answer"])
    if answer is not None:
        return answer, solution
    if solution is not None and "####" in solution:
        return _after_hashes(solution, "solution"), solution
    if solution is not None and (span := last_boxed(solution)) is not None:
        return _text(solution[slice(*span)].strip(), "\\boxed{} of the solution"), solution
    if "answer" not in record:
        raise RecordError(f"no `answer`; give null where there is no gold answer; its keys are {_names(record)}")
    return None, solution


def _after_hashes(text: str, key: str) -> str:
    answer = text.rpartition("####")[2].strip()
    if not answer:
        raise RecordError(f"nothing after the last #### of `{key}`")
    return answer


def _explicit_id(record: Mapping[str, object]) -> str | None:
    for key in ID_KEYS:
        value = record.get(key)
        if value is None:
            continue
        if isinstance(value, bool) or not isinstance(value, str | int):
            raise RecordError(f"`{key}` is a JSON {_json_type(value)}, expected a string or a whole number")
        name = _text(str(value), key).strip()
        if not name.isprintable():
            raise RecordError(f"`{key}` {name!r} holds a character that cannot be printed")
        return name
    return None


def _scalar(value: object, key: str) -> str:
    """A string or number as a stripped string; a float that is a whole number loses its `.0`."""
    if isinstance(value, str):
        return _text(value, key).strip()
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise RecordError(f"`{key}` is a JSON {_json_type(value)}, expected a string, a number or null")
    if isinstance(value, float):
        if not math.isfinite(value):
            raise RecordError(f"`{key}` is {value}, expected a finite number")
        return str(int(value)) if value.is_integer() and abs(value) < _EXACT_FLOAT else repr(value)
    return str(value)


def _text(value: object, key: str) -> str:
    if not isinstance(value, str):
        raise RecordError(f"`{key}` is a JSON {_json_type(value)}, expected a string")
    if not value.strip():
        raise RecordError(f"`{key}` is empty")
    try:
        value.encode("utf-8")
    except UnicodeEncodeError as error:
        code = ord(value[error.start])
        raise RecordError(f"`{key}` holds half a surrogate pair (U+{code:04X}), which is not text") from None
    return value


def _names(record: Mapping[str, object]) -> str:
    return ", ".join(f"`{str(key)[:40]}`" for key in list(record)[:8]) or "none"


def _json_type(value: object) -> str:
    if isinstance(value, bool):
        return "boolean"
    names = {dict: "object", list: "list", str: "string", int: "number", float: "number", type(None): "null"}
    return names.get(type(value), type(value).__name__)
