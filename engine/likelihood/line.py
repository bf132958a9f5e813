"""One line of a journal of likelihoods, and all of them as CSV and as HDF5.

A line of CSV ends with a checksum of its rest, so that a damaged one is noticed when it is read.
"""

from __future__ import annotations

import csv
import io
import math
import zlib
from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

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


def header() -> str:
    """The first row of the CSV file."""
    return ",".join((*COLUMNS, CHECKSUM)) + "\n"


def is_header(row: str) -> bool:
    """Whether `row` is the first one of a journal; those of earlier versions have no checksum."""
    return tuple(row.split(",")) in (COLUMNS, (*COLUMNS, CHECKSUM))


def csv_row(line: Line) -> str:
    """The line as one row of CSV, its end and checksum included."""
    out = io.StringIO()
    csv.writer(out, lineterminator="").writerow(_shown(part) for part in line)
    row = out.getvalue()
    return f"{row},{zlib.crc32(row.encode()):08x}\n"


def line_of(row: str) -> Line | None:
    """A line read back; None where it is not as it was written. Lines of earlier versions carry no
    checksum."""
    try:
        parts = next(csv.reader([row]))
        line = _parsed(parts[: len(COLUMNS)])
    except (ValueError, StopIteration, csv.Error):
        return None
    if len(parts) != len(COLUMNS) and row + "\n" != csv_row(line):
        return None
    return line


def hdf5_image(lines: Sequence[Line], settings: dict[str, Any]) -> bytes:
    """An HDF5 file of all lines, a dataset for each column; `settings` are its attributes."""
    import h5py

    image = io.BytesIO()
    with h5py.File(image, "w") as file:
        for key, value in settings.items():
            file.attrs[key] = value

        def add(name: str, values: Iterable[Any], dtype: Any, units: str = "") -> None:
            dataset = file.create_dataset(name, data=list(values), dtype=dtype)
            if units:
                dataset.attrs["units"] = units

        text = h5py.string_dtype()
        add("problem_id", (str(line.problem_id) for line in lines), text)
        add("skipped", (str(line.skipped) for line in lines), text)
        add("index", (line.place for line in lines), "int32", "1")
        add("tokens", (line.tokens for line in lines), "int32", "tokens")
        add("distractors", (line.distractors for line in lines), "int32", "1")
        add("log_likelihood", (line.nats for line in lines), "float64", "nats")
        add("standard_error", (line.stderr for line in lines), "float64", "nats")
        add("posterior", (line.posterior for line in lines), "float64", "probability")
    return image.getvalue()


def _shown(part: str | int | float) -> str | int | float:
    """A value as CSV has it: NaN is an empty cell, and no text breaks the line."""
    if isinstance(part, str):
        return part.replace("\n", " ")
    return "" if math.isnan(part) else part


def _parsed(parts: list[str]) -> Line:
    """The line of these cells; ValueError where one of them is not what it should be."""
    problem_id, index, tokens, nats, stderr, distractors, posterior, skipped = parts
    return Line(
        problem_id,
        int(index),
        int(tokens),
        _number(nats),
        _number(stderr),
        int(distractors),
        _number(posterior),
        skipped,
    )


def _number(text: str) -> float:
    return float(text) if text else math.nan
