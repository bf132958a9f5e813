"""Likelihoods of many gold answers: which canvas each is asked on, and a journal from which a
stopped command goes on.

One line of CSV for each problem, flushed to the disk before the next begins; an HDF5 file of the
same when all are done. Knows nothing of how a likelihood is computed (`likelihood`), nor of the
command line.
"""

from __future__ import annotations

import csv
import io
import json
import logging
import math
import os
import zlib
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import torch

from ..config import ConfigError
from ..models.loading import MaskedDiffusionModel
from ..problems.read import Problem
from ..prompts.prompt import PromptError, build_prompt, problem_key
from ..store.disk import replace_file, storage_error, write_all, write_file
from ..store.errors import DamagedRun
from ..store.format.stamp import is_intact, stamped
from .measure import Bound, likelihood_bound, posterior, sequential_logprob

if TYPE_CHECKING:
    from ..store import Run

KINDS = ("bound", "sequential")
CONTEXTS = ("prompt", "generation")
COLUMNS = (
    "problem_id",
    "index",
    "tokens",
    "log_likelihood_nats",
    "standard_error_nats",
    "distractors",
    "posterior",
    "skipped",
)


CHECKSUM = "crc32"
"""The last column: of the rest of the line."""

logger = logging.getLogger(__name__)


class Case(NamedTuple):
    """One gold answer on a canvas of token ids, to be asked at `positions`; or why it cannot be
    (`skipped`)."""

    problem_id: str
    place: int
    canvas: tuple[int, ...] = ()
    positions: tuple[int, ...] = ()
    answer: tuple[int, ...] = ()
    skipped: str = ""


class Line(NamedTuple):
    """One row of the journal, in nats; NaN where skipped, or where there is no error (sequential, a
    single draw).

    `posterior`: probability of the gold answer given that it is the gold one or one of so many
    `distractors`.
    """

    problem_id: str
    place: int
    tokens: int
    nats: float
    stderr: float
    distractors: int
    posterior: float
    skipped: str


def cases_after_prompt(
    problems: Iterable[Problem], model: MaskedDiffusionModel, *, style: str
) -> Iterator[Case]:
    """Each gold answer right behind its prompt, nothing else generated: log p(answer given
    question)."""
    for index, problem in enumerate(problems):
        answer, prompt, reason = _tokens(problem, index, model, style=style, room=None)
        if reason:
            yield Case(problem.id, index, skipped=reason)
            continue
        positions = tuple(range(len(prompt), len(prompt) + len(answer)))
        yield Case(problem.id, index, (*prompt, *answer), positions, answer)


def cases_in_generation(run: Run, model: MaskedDiffusionModel) -> Iterator[Case]:
    """Each gold answer at the place of the extracted one, the rest of the finished generation as
    the run left it."""
    config = run.info["config"]
    by_id = {problem.id: problem for problem in run.problems}
    for row, name in enumerate(run.ids):
        index = int(run.index[row])
        start = int(run["answer_start"][row])
        room = int(config["gen_length"])
        answer, prompt, reason = _tokens(
            by_id[name], index, model, style=config["prompt_style"], room=room
        )
        if not reason and start < 0:
            reason = "no answer was extracted, so it has no place"
        if not reason and start + len(answer) > room:
            reason = (
                f"its {len(answer)} tokens do not fit between position {start} and the end "
                "of the canvas"
            )
        if reason:
            yield Case(name, index, skipped=reason)
            continue
        final = run["token"][row, -1].tolist()
        first = len(prompt) + start
        yield Case(name, index, (*prompt, *final), tuple(range(first, first + len(answer))), answer)


def _tokens(
    problem: Problem, index: int, model: MaskedDiffusionModel, *, style: str, room: int | None
) -> tuple[tuple[int, ...], tuple[int, ...], str]:
    """(gold tokens, all of them, prompt tokens, why not); `room` generated positions, those of the
    answer if None."""
    if problem.answer is None:
        return (), (), "no gold answer"
    answer = tuple(model.tokenizer.encode(problem.answer, add_special_tokens=False))
    if not answer:
        return (), (), "the gold answer has no tokens"
    try:
        prompt = build_prompt(problem, index, model, style=style, gen_length=room or len(answer))
    except PromptError as error:
        return (), (), str(error)
    return answer, prompt.token_ids, ""


def measure(
    model: MaskedDiffusionModel,
    case: Case,
    *,
    kind: str,
    draws: int,
    seed: int,
    distractors: Sequence[tuple[int, ...]] = (),
) -> Line:
    """The likelihood of one case, and its posterior among `distractors`, token ids as many as the
    gold answer's.

    A problem's draws depend on its id and `seed`, not on its place or neighbours; all its answers
    have the same ones.
    """
    if case.skipped:
        return Line(case.problem_id, case.place, 0, math.nan, math.nan, 0, math.nan, case.skipped)
    canvas = torch.tensor(case.canvas, device=model.device)

    def of(answer: tuple[int, ...]) -> Bound:
        asked = (model, canvas, list(case.positions), list(answer))
        if kind == "sequential":
            return Bound(sequential_logprob(*asked), math.nan, 1)
        return likelihood_bound(*asked, draws=draws, seed=problem_key(case.problem_id) ^ seed)

    gold = of(case.answer)
    among = (
        posterior([gold.nats, *(of(answer).nats for answer in distractors)])[0]
        if distractors
        else math.nan
    )
    return Line(
        case.problem_id,
        case.place,
        len(case.answer),
        gold.nats,
        gold.stderr,
        len(distractors),
        among,
        "",
    )


class Journal:
    """`<name>.csv` in a directory, with its settings in `<name>.json`; one process at a time (the
    caller's lock)."""

    def __init__(self, directory: Path, name: str, settings: dict[str, Any]) -> None:
        """Begin, or go on with what is there. ConfigError where it was made with other settings."""
        self.path = directory / f"{name}.csv"
        self._hdf5 = directory / f"{name}.h5"
        self._settings = settings
        _refuse_if_different(directory / f"{name}.json", settings)
        self.lines = _whole_lines(self.path)
        replace_file(self.path, lambda temporary: write_file(temporary, _csv(self.lines)))

    def add(self, line: Line) -> None:
        """Append one line; it is on the disk when this returns."""
        row = _row(line).encode()
        try:
            self._append(row)
        except OSError as error:
            raise storage_error(error, self.path, needed=len(row)) from error
        self.lines.append(line)

    def _append(self, row: bytes) -> None:
        descriptor = os.open(self.path, os.O_WRONLY | os.O_APPEND | os.O_CLOEXEC)
        try:
            write_all(descriptor, row)
            os.fsync(descriptor)
        finally:
            os.close(descriptor)

    def finish(self) -> Path:
        """Write the HDF5 file of all lines, in the order of the problems, whole or not at all;
        returns its path."""
        image = _hdf5(sorted(self.lines, key=lambda line: line.place), self._settings)
        replace_file(self._hdf5, lambda temporary: write_file(temporary, image))
        return self._hdf5


def _refuse_if_different(path: Path, settings: dict[str, Any]) -> None:
    if path.exists():
        there = _settings_in(path)
        other = [
            f"{key}: {there.get(key)!r} there, {settings[key]!r} now"
            for key in settings
            if there.get(key) != settings[key]
        ]
        if other:
            raise ConfigError(
                f"{path}: made with other settings ({'; '.join(other)}); give another --out"
            )
        return
    content = json.dumps(stamped(settings), indent=2, ensure_ascii=False) + "\n"
    replace_file(path, lambda temporary: write_file(temporary, content.encode()))


def _settings_in(path: Path) -> dict[str, Any]:
    try:
        there = json.loads(path.read_text("utf-8"))
    except ValueError:
        there = None
    if not isinstance(there, dict) or not is_intact(there):
        raise DamagedRun(
            f"{path} is damaged; move it and {path.stem}.csv away, or give another --out"
        )
    return there


def _whole_lines(path: Path) -> list[Line]:
    """The lines of a journal; one that is damaged, or that a crash cut short, is dropped and
    measured again."""
    if not path.exists():
        return []
    text = path.read_bytes().decode("utf-8", "replace")
    whole = text[: text.rfind("\n") + 1].split("\n")[:-1]
    if not whole or tuple(whole[0].split(",")) not in (COLUMNS, (*COLUMNS, CHECKSUM)):
        raise ConfigError(f"{path}: not a file of likelihoods; move it away or give another --out")
    lines = [_line(row) for row in whole[1:]]
    if dropped := lines.count(None):
        logger.warning("%s: %d damaged lines are measured again", path, dropped)
    return list({line.problem_id: line for line in lines if line is not None}.values())


def _line(row: str) -> Line | None:
    """A line read back; None where it is not as it was written. Lines of earlier versions carry no
    checksum."""
    try:
        parts = next(csv.reader([row]))
        name, index, tokens, nats, stderr, others, among, skipped = parts[: len(COLUMNS)]
        line = Line(
            name,
            int(index),
            int(tokens),
            _number(nats),
            _number(stderr),
            int(others),
            _number(among),
            skipped,
        )
    except (ValueError, StopIteration, csv.Error):
        return None
    return line if len(parts) == len(COLUMNS) or row + "\n" == _row(line) else None


def _number(text: str) -> float:
    return float(text) if text else math.nan


def _row(line: Line) -> str:
    out = io.StringIO()
    shown = ["" if isinstance(part, float) and math.isnan(part) else part for part in line]
    csv.writer(out, lineterminator="").writerow(
        part.replace("\n", " ") if isinstance(part, str) else part for part in shown
    )
    return f"{out.getvalue()},{zlib.crc32(out.getvalue().encode()):08x}\n"


def _csv(lines: list[Line]) -> bytes:
    return (",".join((*COLUMNS, CHECKSUM)) + "\n" + "".join(_row(line) for line in lines)).encode()


def _hdf5(lines: list[Line], settings: dict[str, Any]) -> bytes:
    import h5py

    columns = (
        dict(zip(COLUMNS, zip(*lines, strict=True), strict=True))
        if lines
        else {name: () for name in COLUMNS}
    )
    image = io.BytesIO()
    with h5py.File(image, "w") as file:
        for key, value in settings.items():
            file.attrs[key] = value
        for name in ("problem_id", "skipped"):
            file.create_dataset(
                name, data=[str(text) for text in columns[name]], dtype=h5py.string_dtype()
            )
        for name, units in (("index", "1"), ("tokens", "tokens"), ("distractors", "1")):
            file.create_dataset(name, data=columns[name], dtype="int32").attrs["units"] = units
        for name in ("log_likelihood_nats", "standard_error_nats"):
            dataset = file.create_dataset(
                name.removesuffix("_nats"), data=columns[name], dtype="float64"
            )
            dataset.attrs["units"] = "nats"
        file.create_dataset("posterior", data=columns["posterior"], dtype="float64").attrs[
            "units"
        ] = "probability"
    return image.getvalue()
