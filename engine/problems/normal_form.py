"""Problems in the normal form, a run's problems.jsonl: one JSON object a line, read back as is."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import fields
from pathlib import Path

from ..store.disk import replace_file, write_file
from .read import Origin, Problem, ProblemError

WHERE_THERE = ("accepted", "columns", "sample", "group", "origin")
"""Fields that a line has only where they hold something."""
_LINE_SEPARATORS = {ord(character): f"\\u{ord(character):04x}" for character in "\x85\u2028\u2029"}
"""JSON allows these inside a string, but `str.splitlines` and some editors break a line at them."""


def write_problems(path: str | Path, problems: Iterable[Problem]) -> None:
    """Write the normal form durably: whole under its name or not there at all. Raises
    StorageError."""
    content = "".join(_as_line(problem) for problem in problems).encode()
    replace_file(Path(path), lambda temporary: write_file(temporary, content))


def load_problems(path: str | Path) -> list[Problem]:
    """Read back what `write_problems` wrote, exactly. Raises ProblemError naming the line that is
    not of that form."""
    path = Path(path)
    try:
        lines = path.read_bytes().decode("utf-8").split("\n")
    except FileNotFoundError:
        raise ProblemError(
            f"no {path.name} in {path.parent}; a run directory has one; is this a run?"
        ) from None
    except UnicodeDecodeError as error:
        raise ProblemError(
            f"{path} is damaged: {error}; restore it from a copy of the run"
        ) from None
    return [_from_line(line, path, number) for number, line in enumerate(lines, 1) if line]


def _as_line(problem: Problem) -> str:
    record = {}
    for field in fields(Problem):
        value = getattr(problem, field.name)
        if value or field.name not in WHERE_THERE:
            record[field.name] = value
    line = json.dumps(record, ensure_ascii=False).translate(_LINE_SEPARATORS)
    try:
        line.encode("utf-8")
    except UnicodeEncodeError:
        # Half a surrogate pair in a column; as an escape it comes back as it was.
        line = json.dumps(record)
    return line + "\n"


def _from_line(line: str, path: Path, number: int) -> Problem:
    try:
        record = json.loads(line)
        if record["messages"] is not None:
            record["messages"] = tuple(record["messages"])
        record["accepted"] = tuple(record.get("accepted", ()))
        if record.get("origin") is not None:
            record["origin"] = Origin(*record["origin"])
        problem = Problem(**record)
        _check_types(problem)
    except (ValueError, TypeError, KeyError, RecursionError) as error:
        raise ProblemError(
            f"{path}:{number} is not a problem as a run stores it ({error!r}); restore the file "
            "from a copy of the run"
        ) from error
    return problem


def _check_types(problem: Problem) -> None:
    if not isinstance(problem.id, str) or not isinstance(problem.question, str):
        raise TypeError("id and question must be strings")
    accepted_are_texts = all(isinstance(answer, str) for answer in problem.accepted)
    if not accepted_are_texts or not isinstance(problem.columns, dict):
        raise TypeError("accepted must be a list of strings, columns an object")
    if type(problem.sample) is not int or not isinstance(problem.group, str):
        raise TypeError("sample must be an integer, group a string")
    if problem.origin is not None:
        kinds = [type(part) for part in problem.origin]
        if kinds != [str, int, int, int]:
            raise TypeError("origin must be a string and three integers")
