"""The problems of a run: read from files or named sources, checked whole before any work, each with
a stable id.

A source is a file, `-` (standard input), `samples` (the bundled ten), or `generated:N[:seed=S]`
(held-out word problems); a path that exists wins over a name.
"""

from __future__ import annotations

import difflib
import hashlib
import json
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

from ..store.counts import count_text
from .formats import Fields, parse_record
from .messages import Messages
from .sources import STANDARD_INPUT, open_source
from .values import RecordError

SHOWN_BAD_LINES = 10
SHOWN_IDS = 10


class Origin(NamedTuple):
    """Where a branch begins: the decoding `parent` of the run that it leaves, the `step` that it
    decodes first, the `intervention` of the branch run that was made there, by its place in
    run.json, and which `branch` of these it is."""

    parent: str
    step: int
    intervention: int
    branch: int


@dataclass(frozen=True)
class Problem:
    """One problem in the normal form. `messages` is None unless the source gave a conversation;
    `line` is from 1.

    `accepted` are answers that count as right besides `answer`. `columns` are the record's other
    fields (subject, level, ...) by their names in the source, with values as JSON has them; nothing
    of them reaches the model.

    A problem that is decoded several times stands in a run once for each: `sample` counts them,
    `group` is the id that they have in common, empty where it is this one's own, and `origin` says
    where a branch begins.
    """

    id: str
    question: str
    answer: str | None
    messages: Messages | None = None
    solution: str | None = None
    source: str = ""
    line: int = 0
    accepted: tuple[str, ...] = ()
    columns: Mapping[str, Any] = field(default_factory=dict, hash=False)
    sample: int = 0
    group: str = ""
    origin: Origin | None = None

    @property
    def group_id(self) -> str:
        """The id of the problem in the input, which its samples and branches share."""
        return self.group or self.id

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
            f"<ProblemSet {self.source}: {count_text(len(self.problems), 'problem')}, "
            f"{count_text(len(self.skipped), 'bad line')} skipped>"
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
    for part in sources:
        _read_source(part, problems, bad, taken)
    name = " + ".join(_source_name(part) for part in sources)
    _refuse(name, problems, bad, skip_bad=skip_bad)
    return ProblemSet(_select(problems, ids)[:limit], bad, _content_hash(problems), name)


def problem_columns(problems: Sequence[Problem]) -> dict[str, list[Any]]:
    """The other fields of the sources as columns [problem], by name; None where a problem has no
    such field."""
    names = dict.fromkeys(name for problem in problems for name in problem.columns)
    return {name: [problem.columns.get(name) for problem in problems] for name in names}


def _source_name(source: str | Path) -> str:
    return STANDARD_INPUT if str(source) == "-" else str(source)


def _read_source(
    source: str | Path, problems: list[Problem], bad: list[BadLine], taken: dict[str, str]
) -> None:
    """Add what a source holds to `problems` and `bad`; `taken` says for each id where it stands."""
    name = _source_name(source)
    for line, record in _open_source(source):
        try:
            if isinstance(record, RecordError):
                raise record
            parsed = parse_record(record)
            problem_id = _problem_id(parsed, taken)
        except RecordError as error:
            bad.append(BadLine(name, line, str(error)))
            continue
        taken[problem_id] = f"{name}:{line}"
        problems.append(_problem(problem_id, parsed, name, line))


def _open_source(source: str | Path) -> Iterator[tuple[int, object]]:
    try:
        yield from open_source(source)
    except (OSError, ValueError) as error:
        raise ProblemError(str(error)) from error


def _problem_id(parsed: Fields, taken: Mapping[str, str]) -> str:
    """The record's own id, else a function of the content, numbered where that repeats. Raises
    RecordError for an own id that is taken."""
    if parsed.explicit_id is None:
        return _free_content_id(parsed, taken)
    problem_id = parsed.explicit_id
    if problem_id in taken and parsed.instance is not None:
        problem_id = f"{problem_id}/{parsed.instance}"
    if problem_id in taken:
        raise RecordError(f"the id {problem_id!r} is taken by {taken[problem_id]}; ids must differ")
    return problem_id


def _free_content_id(parsed: Fields, taken: Mapping[str, str]) -> str:
    first = _content_id(parsed)
    problem_id = first
    repeat = 1
    while problem_id in taken:
        repeat += 1
        problem_id = f"{first}-{repeat}"
    return problem_id


def _content_id(parsed: Fields) -> str:
    content: list[object] = [parsed.question, parsed.answer]
    if parsed.messages is not None:
        content.append(parsed.messages)
    if parsed.accepted:
        content.append(parsed.accepted)
    return "p-" + hashlib.sha256(_canonical(content).encode()).hexdigest()[:12]


def _problem(problem_id: str, parsed: Fields, source: str, line: int) -> Problem:
    return Problem(
        problem_id,
        parsed.question,
        parsed.answer,
        parsed.messages,
        parsed.solution,
        source,
        line,
        accepted=parsed.accepted,
        columns=parsed.columns,
    )


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
        if problem.accepted:
            row.append(problem.accepted)
        digest.update(_canonical(row).encode() + b"\n")
    return digest.hexdigest()


def _canonical(value: object) -> str:
    return json.dumps(value, ensure_ascii=False, sort_keys=True, separators=(",", ":"))


def _refuse(
    name: str, problems: Sequence[Problem], bad: Sequence[BadLine], *, skip_bad: bool
) -> None:
    """Raise ProblemError for bad lines that may not be skipped, and where no problem is left."""
    if bad and (not skip_bad or not problems):
        raise ProblemError(_bad_lines_message(name, len(problems), bad), bad)
    if not problems:
        raise ProblemError(
            f"{name or 'the list of sources'} holds no problems; expected lines like "
            '{"question": "...", "answer": "..."}'
        )


def _bad_lines_message(name: str, n_problems: int, bad: Sequence[BadLine]) -> str:
    hint = "there is no other problem to run"
    if n_problems:
        hint = "repair them, or skip them with --skip-bad"
    records = count_text(len(bad) + n_problems, "record")
    lines = [f"{len(bad)} of {records} of {name} cannot be read; {hint}:"]
    lines += [f"  {line}" for line in bad[:SHOWN_BAD_LINES]]
    if len(bad) > SHOWN_BAD_LINES:
        lines.append(f"  ... and {len(bad) - SHOWN_BAD_LINES} more")
    return "\n".join(lines)


def _select(problems: list[Problem], ids: Collection[str] | None) -> list[Problem]:
    """The problems with these ids, all of them for None. Raises ProblemError for an id of none."""
    if ids is None:
        return problems
    asked = {ids} if isinstance(ids, str) else set(ids)
    present = {problem.id for problem in problems}
    missing = sorted(asked - present)
    if missing:
        listed = "\n".join(f"  {_suggest(name, present)}" for name in missing[:SHOWN_IDS])
        ids_text = count_text(len(asked), "id")
        raise ProblemError(f"no problem has {len(missing)} of {ids_text}:\n{listed}")
    return [problem for problem in problems if problem.id in asked]


def _suggest(missing: str, present: Collection[str]) -> str:
    near = difflib.get_close_matches(missing, sorted(present), n=3, cutoff=0.5)
    if near:
        return f"{missing!r}; close to it: {', '.join(near)}"
    return f"{missing!r}; ids here look like: {', '.join(sorted(present)[:3])}"
