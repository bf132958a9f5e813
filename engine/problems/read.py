"""The problems of a run: read from files or named sources, checked whole before any work, each with
a stable id.

A source is a file, `-` (standard input), `samples` (the bundled ten), or `generated:N[:seed=S]`
(held-out word problems); a path that exists wins over a name. Knows the forms of a record only
through `problem_formats`, and nothing of prompts, tokens or grading.
"""

from __future__ import annotations

import difflib
import hashlib
import json
import os
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any, NamedTuple

from .formats import Fields, RecordError, parse_record
from .sources import STANDARD_INPUT, open_source

SHOWN_BAD_LINES = 10
OPTIONAL = ("accepted", "columns")
"""Fields that a line of problems.jsonl has only where they hold something."""
# JSON allows these inside a string, but `str.splitlines` and some editors break a line at them.
_LINE_SEPARATORS = {ord(one): f"\\u{ord(one):04x}" for one in "\x85\u2028\u2029"}


@dataclass(frozen=True)
class Problem:
    """One problem in the normal form. `messages` is None unless the source gave a conversation;
    `line` is from 1.

    `accepted` are answers that count as right besides `answer`. `columns` are the record's other
    fields (subject, level, ...) by their names in the source, with values as JSON has them; nothing
    of them reaches the model.
    """

    id: str
    question: str
    answer: str | None
    messages: tuple[Mapping[str, str], ...] | None = None
    solution: str | None = None
    source: str = ""
    line: int = 0
    accepted: tuple[str, ...] = ()
    columns: Mapping[str, Any] = field(default_factory=dict, hash=False)

    @property
    def answers(self) -> tuple[str, ...]:
        """Every answer that counts as right, the gold answer first; empty without a gold answer."""
        return () if self.answer is None else (self.answer, *self.accepted)


class BadLine(NamedTuple):
    """A line that is not a problem, and why."""

    source: str
    line: int
    reason: str

    def __str__(self) -> str:
        return f"{self.source}:{self.line}: {self.reason}"


class ProblemSet(NamedTuple):
    """What was read. `sha256` covers all problems of the source, before `ids` and `limit` choose
    among them."""

    problems: list[Problem]
    skipped: list[BadLine]
    sha256: str
    source: str

    def __repr__(self) -> str:
        return (
            f"<ProblemSet {self.source}: {len(self.problems)} problems, {len(self.skipped)} "
            "bad lines skipped>"
        )


class ProblemError(ValueError):
    """The problems cannot be used as asked; `bad_lines` lists every bad line where those are the
    reason."""

    def __init__(self, message: str, bad_lines: Sequence[BadLine] = ()) -> None:
        super().__init__(message)
        self.bad_lines = list(bad_lines)


def read_problems(
    source: str | Path | Sequence[str | Path],
    *,
    skip_bad: bool = False,
    limit: int | None = None,
    ids: Collection[str] | None = None,
) -> ProblemSet:
    """All problems of one source or of several in turn; then those named in `ids`, then the first
    `limit` of them.

    Raises ProblemError for a source that is missing, unreadable or without problems; for bad lines,
    all of them together, unless `skip_bad`; for ids that do not occur; for a negative limit.
    """
    if limit is not None and limit < 0:
        raise ProblemError(
            f"limit is {limit}, expected 0 or more; leave it out to take all problems"
        )
    sources = [source] if isinstance(source, str | Path) else list(source)
    problems: list[Problem] = []
    bad: list[BadLine] = []
    taken: dict[str, str] = {}
    for one in sources:
        _read_source(one, problems, bad, taken)
    name = " + ".join(STANDARD_INPUT if str(one) == "-" else str(one) for one in sources)
    _refuse(name, problems, bad, skip_bad=skip_bad)
    return ProblemSet(_select(problems, ids)[:limit], bad, _content_hash(problems), name)


def write_problems(path: str | Path, problems: Iterable[Problem]) -> None:
    """Write the normal form, one JSON object a line, durably: whole under its name or not there at
    all."""
    path = Path(path)
    partial = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        with partial.open("w", encoding="utf-8", newline="\n") as file:
            file.writelines(_as_line(problem) for problem in problems)
            file.flush()
            os.fsync(file.fileno())
        os.replace(partial, path)
    finally:
        partial.unlink(missing_ok=True)


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
    return [_from_record(line, path, number) for number, line in enumerate(lines, 1) if line]


def problem_columns(problems: Sequence[Problem]) -> dict[str, list[Any]]:
    """The other fields of the sources as columns [problem], by name; None where a problem has no
    such field."""
    names = dict.fromkeys(name for problem in problems for name in problem.columns)
    return {name: [problem.columns.get(name) for problem in problems] for name in names}


def _read_source(
    source: str | Path, problems: list[Problem], bad: list[BadLine], taken: dict[str, str]
) -> None:
    name = STANDARD_INPUT if str(source) == "-" else str(source)
    for line, record in _open_source(source):
        try:
            if isinstance(record, RecordError):
                raise record
            parsed = parse_record(record)
            problems.append(_named(parsed, name, line, taken))
        except RecordError as error:
            bad.append(BadLine(name, line, str(error)))


def _open_source(source: str | Path) -> Iterator[tuple[int, object]]:
    try:
        yield from open_source(source)
    except (OSError, ValueError) as error:
        raise ProblemError(str(error)) from error


def _named(parsed: Fields, source: str, line: int, taken: dict[str, str]) -> Problem:
    """The problem with its id: the record's own, else a function of the content, numbered where
    that repeats."""
    identity = parsed.explicit_id
    if identity is None:
        base = identity = _content_id(parsed)
        repeat = 1
        while identity in taken:
            repeat += 1
            identity = f"{base}-{repeat}"
    elif identity in taken and parsed.instance is not None:
        identity = f"{identity}/{parsed.instance}"
    if parsed.explicit_id is not None and identity in taken:
        raise RecordError(f"the id {identity!r} is taken by {taken[identity]}; ids must differ")
    taken[identity] = f"{source}:{line}"
    return Problem(
        identity,
        parsed.question,
        parsed.answer,
        parsed.messages,
        parsed.solution,
        source,
        line,
        accepted=parsed.accepted,
        columns=parsed.columns,
    )


def _content_id(parsed: Fields) -> str:
    content: list[object] = [parsed.question, parsed.answer]
    if parsed.messages is not None:
        content.append(parsed.messages)
    if parsed.accepted:
        content.append(parsed.accepted)
    return "p-" + hashlib.sha256(_canonical(content).encode()).hexdigest()[:12]


def _content_hash(problems: Sequence[Problem]) -> str:
    """Hash of what decides results: not where problems were read from, and not their other columns.

    Accepted answers count where there are any, so that a source without keeps the hash that older
    runs have of it.
    """
    digest = hashlib.sha256()
    for problem in problems:
        row: list[object] = [
            problem.id,
            problem.question,
            problem.answer,
            problem.messages,
            problem.solution,
        ]
        row += [problem.accepted] if problem.accepted else []
        digest.update(_canonical(row).encode() + b"\n")
    return digest.hexdigest()


def _canonical(value: object) -> str:
    return json.dumps(value, ensure_ascii=False, sort_keys=True, separators=(",", ":"))


def _refuse(
    name: str, problems: Sequence[Problem], bad: Sequence[BadLine], *, skip_bad: bool
) -> None:
    if bad and (not skip_bad or not problems):
        shown = "\n".join(f"  {line}" for line in bad[:SHOWN_BAD_LINES])
        more = (
            f"\n  ... and {len(bad) - SHOWN_BAD_LINES} more" if len(bad) > SHOWN_BAD_LINES else ""
        )
        hint = (
            "repair them, or skip them with --skip-bad"
            if problems
            else "there is no other problem to run"
        )
        total = len(bad) + len(problems)
        raise ProblemError(
            f"{len(bad)} of {total} records of {name} are bad; {hint}:\n{shown}{more}", bad
        )
    if not problems:
        raise ProblemError(
            f"{name or 'the list of sources'} holds no problems; expected lines like "
            '{"question": "...", "answer": "..."}'
        )


def _select(problems: list[Problem], ids: Collection[str] | None) -> list[Problem]:
    if ids is None:
        return problems
    wanted = {ids} if isinstance(ids, str) else set(ids)
    present = {problem.id for problem in problems}
    missing = sorted(wanted - present)
    if missing:
        listed = "\n".join(f"  {_suggest(one, present)}" for one in missing[:10])
        raise ProblemError(f"{len(missing)} of {len(wanted)} ids are of no problem:\n{listed}")
    return [problem for problem in problems if problem.id in wanted]


def _suggest(wanted: str, present: Collection[str]) -> str:
    near = difflib.get_close_matches(wanted, sorted(present), n=3, cutoff=0.5)
    if near:
        return f"{wanted!r}; close to it: {', '.join(near)}"
    return f"{wanted!r}; ids here look like: {', '.join(sorted(present)[:3])}"


def _as_line(problem: Problem) -> str:
    record = {one.name: getattr(problem, one.name) for one in fields(Problem)}
    record = {name: value for name, value in record.items() if name not in OPTIONAL or value}
    line = json.dumps(record, ensure_ascii=False).translate(_LINE_SEPARATORS)
    try:
        line.encode("utf-8")
    except (
        UnicodeEncodeError
    ):  # half a surrogate pair in a column; as an escape it comes back as it was
        line = json.dumps(record)
    return line + "\n"


def _from_record(line: str, path: Path, number: int) -> Problem:
    try:
        record = json.loads(line)
        if record["messages"] is not None:
            record["messages"] = tuple(record["messages"])
        record["accepted"] = tuple(record.get("accepted", ()))
        problem = Problem(**record)
        if not isinstance(problem.id, str) or not isinstance(problem.question, str):
            raise TypeError("id and question must be strings")
        if not all(isinstance(answer, str) for answer in problem.accepted) or not isinstance(
            problem.columns, dict
        ):
            raise TypeError("accepted must be a list of strings, columns an object")
    except (ValueError, TypeError, KeyError, RecursionError) as error:
        raise ProblemError(
            f"{path}:{number} is not a problem as a run stores it ({error!r}); restore the file "
            "from a "
            "copy of the run"
        ) from error
    return problem
