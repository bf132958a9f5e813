"""Tables of problems: CSV, TSV and parquet, a row to a record, the first row of a text table being
the names."""

from __future__ import annotations

import ast
import csv
import io
import json
from collections.abc import Iterator
from typing import Any

from ..store.counts import count_text
from .messages import MESSAGE_KEYS
from .question import QUESTION_KEYS
from .values import RecordError

STRUCTURED = {
    "choices",
    "options",
    "endings",
    "answers",
    "aliases",
    "answers_spans",
    "final_answer",
    *MESSAGE_KEYS,
}
"""Columns whose cells may hold a list or object as text; any other cell is the text that it is."""
QUESTION_COLUMNS = {*QUESTION_KEYS, *MESSAGE_KEYS}
"""One of them tells a table of problems by its first row."""
DELIMITERS = "\t,;|"


def delimiter_of(text: str, suffix: str) -> str | None:
    """The delimiter of a table that `text` is by its first row or by its file's suffix; None where
    it is no table."""
    first_row = text.lstrip("\n\r ").partition("\n")[0].rstrip("\r")
    if first_row[:1] in ("{", "["):
        return None
    for delimiter in DELIMITERS:
        cells = first_row.split(delimiter)
        names = {cell.strip().strip('"').strip() for cell in cells}
        if len(cells) > 1 and names & QUESTION_COLUMNS:
            return delimiter
    return {".csv": ",", ".tsv": "\t"}.get(suffix)


def table_records(text: str, delimiter: str, name: str) -> Iterator[tuple[int, object]]:
    """(line, record) for every row below the first; a RecordError in place of a row with too many
    or few cells.

    An empty cell is null. Raises ValueError where the first row does not name the columns, or the
    table breaks off.
    """
    rows = _all_rows(text, delimiter, name)
    if not rows:
        return
    _, first_row = rows[0]
    header = _header(first_row, name)
    for line, row in rows[1:]:
        if len(row) != len(header):
            yield line, _wrong_length(row, header)
            continue
        cells = zip(header, row, strict=True)
        yield line, {key: _cell(key, cell) for key, cell in cells if key}


def _all_rows(text: str, delimiter: str, name: str) -> list[tuple[int, list[str]]]:
    """The rows that are not empty, each with the line on which it begins."""
    # A cell may be as long as the whole text; the limit is of the process, so it is put back.
    limit = csv.field_size_limit(max(csv.field_size_limit(), len(text)))
    try:
        return list(_rows(text, delimiter))
    except csv.Error as error:
        raise ValueError(f"{name} cannot be read as a table: {error}") from None
    finally:
        csv.field_size_limit(limit)


def _rows(text: str, delimiter: str) -> Iterator[tuple[int, list[str]]]:
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, strict=True)
    line = 1
    for row in reader:
        if any(cell.strip() for cell in row):
            yield line, row
        line = reader.line_num + 1


def _header(row: list[str], name: str) -> list[str]:
    """The names of the columns. Raises ValueError where none is of questions, or two are the
    same."""
    header = [cell.strip() for cell in row]
    if not set(header) & QUESTION_COLUMNS:
        shown = ", ".join(repr(cell[:30]) for cell in header[:5])
        raise ValueError(
            f"{name}: the first row names no column of questions ({shown}); a table begins with "
            "the names of its columns, such as question and answer"
        )
    for cell in header:
        if header.count(cell) > 1:
            raise ValueError(f"{name}: two columns are called {cell!r}")
    return header


def _wrong_length(row: list[str], header: list[str]) -> RecordError:
    return RecordError(
        f"{count_text(len(row), 'cell')}, but the first row names "
        f"{count_text(len(header), 'column')}; a cell that holds the delimiter or a quote needs "
        "quotes around it"
    )


def _cell(key: str, cell: str) -> Any:
    """The text of a cell, null for an empty one; a list or object where the column may hold one."""
    if not cell.strip():
        return None
    if key in STRUCTURED and cell.lstrip()[:1] in ("[", "{"):
        for read in (json.loads, ast.literal_eval):
            try:
                return read(cell)
            except (ValueError, SyntaxError, TypeError, MemoryError, RecursionError):
                continue
    return cell


def parquet_records(data: bytes, name: str) -> Iterator[tuple[int, object]]:
    """(row from 1, record) of a parquet file. Raises ValueError without pyarrow, or for a damaged
    file."""
    try:
        import pyarrow
        import pyarrow.parquet
    except ImportError:
        raise ValueError(
            f"{name} is a parquet file, which needs pyarrow: pip install pyarrow (the extra "
            "`parquet`); or save it as JSON lines"
        ) from None
    number = 0
    try:
        file = pyarrow.parquet.ParquetFile(pyarrow.BufferReader(data))
        for batch in file.iter_batches(batch_size=1000):
            for record in batch.to_pylist():
                number += 1
                yield number, record
    except (pyarrow.ArrowException, OSError, ValueError) as error:
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise ValueError(
            f"{name} is a damaged parquet file ({reason}); copy or download it again"
        ) from None
