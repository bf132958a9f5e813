"""Where problems come from: raw records, with line numbers, from a file, standard input, the
samples or the generator.

A file is JSON lines, one JSON list when it opens with `[`, a table or parquet, by what it holds and
not by its name.
"""

from __future__ import annotations

import difflib
import json
import re
import sys
from collections.abc import Iterator
from importlib import resources
from itertools import islice
from pathlib import Path

from .files import PARQUET, READ_FORMS, plain_bytes
from .tables import delimiter_of, parquet_records, table_records
from .values import RecordError

GENERATED = re.compile(r"generated:(\d{1,9})(?::seed=([^:\s]+))?")
MOST_GENERATED = 1_000_000
NAMES = ("samples", "generated:N")
STANDARD_INPUT = "standard input"
_HUB_NAME = re.compile(r"(?:hf:/+(?:datasets/)?)?[A-Za-z0-9][\w-]*/[A-Za-z0-9][\w.-]*")
PACKED = (".gz", ".bz2", ".xz")
SUFFIXES = (".jsonl", ".json", ".csv", ".tsv", ".parquet", *PACKED)
MOST_HELD = 5
"""Files of a directory that a message names."""


def sample_file() -> Path:
    """The file of the ten bundled sample problems."""
    return Path(str(resources.files("diffengine.engine"))) / "data" / "sample_problems.jsonl"


def generated(name: str) -> Iterator[tuple[int, object]]:
    """(number, record) of the first N held-out word problems of seed S (default 0), for
    `generated:N[:seed=S]`.

    A larger N of the same seed begins with the same problems. Raises ValueError for a name that is
    not of that form.
    """
    match = GENERATED.fullmatch(name)
    if match is None or not 1 <= int(match[1]) <= MOST_GENERATED:
        raise ValueError(
            f"{name!r} names no problems; expected generated:N or generated:N:seed=S with N from 1 "
            f"to {MOST_GENERATED}, for example generated:20:seed=1"
        )
    from ..models.bundled.generator import word_problems

    stream = word_problems(f"held-out {match[2] or 0}", held_out=True)
    for number, problem in enumerate(islice(stream, int(match[1])), 1):
        record = {
            "question": problem.question,
            "answer": problem.answer,
            "solution": problem.solution,
        }
        yield number, record


def open_source(source: str | Path) -> Iterator[tuple[int, object]]:
    """(line, decoded value) for every record of a source; a RecordError in place of what is not
    one.

    Raises OSError or ValueError where the source cannot be read.
    """
    name = str(source)
    if name == "-":
        return raw_records(_standard_input(), STANDARD_INPUT, suffix="")
    path = Path(source)
    if not path.exists():
        if name == "samples":
            path = sample_file()
        elif name.partition(":")[0] == "generated":
            return generated(name)
    unpacked = path.with_suffix("") if path.suffix.lower() in PACKED else path
    return raw_records(_read(path), str(path), suffix=unpacked.suffix.lower())


def raw_records(data: bytes, name: str, *, suffix: str) -> Iterator[tuple[int, object]]:
    """(line, decoded value) for every record in the bytes of a file; a RecordError in place of a
    line that is not JSON.

    Raises ValueError where it is of no form that is read, or a JSON list breaks off, because
    nothing can be read after that.
    """
    data = plain_bytes(data, name)
    if data.startswith(PARQUET):
        return parquet_records(data, name)
    opening = data.lstrip()[:1]
    if opening == b"[":
        return _list_items(_decoded(data, name), name)
    if suffix == ".json":
        whole = _single_object(data)
        if whole is not None:
            return iter([(1, whole)])
    if opening not in (b"{", b""):
        delimiter = delimiter_of(_beginning(data), suffix)
        if delimiter is not None:
            return table_records(_decoded(data, name), delimiter, name)
        _refuse_other_text(data, name)
    return _lines(data)


def _beginning(data: bytes) -> str:
    return data[:65536].decode("utf-8", errors="replace")


def _refuse_other_text(data: bytes, name: str) -> None:
    """Raise ValueError where no line of the text begins as JSON does; single bad lines are told
    later."""
    if re.search(rb"^\s*[{\[]", data, re.MULTILINE):
        return
    first_line = _beginning(data).strip().partition("\n")[0]
    if not _is_json(first_line):
        raise ValueError(
            f"{name} begins with {first_line[:40]!r}, which is none of the forms that are read: "
            f"{READ_FORMS}"
        )


def _standard_input() -> bytes:
    """Everything that is piped in. Raises ValueError where nothing is, or it was read before."""
    advice = "pipe a file into it, as in: zcat problems.jsonl.gz | diffengine run --problems -"
    if sys.stdin is None or sys.stdin.closed:
        raise ValueError(f"{STANDARD_INPUT} is closed; {advice}")
    if sys.stdin.isatty():
        raise ValueError(f"{STANDARD_INPUT} is a terminal; {advice}")
    data = sys.stdin.buffer.read()
    if not data.strip():
        raise ValueError(f"{STANDARD_INPUT} is empty (`-` can be given once); {advice}")
    return data


def _is_json(text: str) -> bool:
    return not isinstance(_decode(text.encode("utf-8", errors="replace")), RecordError)


def _decoded(data: bytes, name: str) -> str:
    try:
        return data.decode("utf-8")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise ValueError(f"{name}:{line}: byte 0x{data[error.start]:02x} is not UTF-8") from None


def _lines(data: bytes) -> Iterator[tuple[int, object]]:
    for number, line in enumerate(data.split(b"\n"), 1):
        if line.strip():
            yield number, _decode(line)


def _decode(line: bytes) -> object:
    try:
        return json.loads(line.decode("utf-8"))
    except UnicodeDecodeError as error:
        return RecordError(
            f"byte {error.start + 1} of the line (0x{line[error.start]:02x}) is not UTF-8"
        )
    except json.JSONDecodeError as error:
        return RecordError(f"not JSON: {error.msg} at column {error.colno}")
    except (ValueError, RecursionError) as error:
        return RecordError(f"not JSON that can be read: {error}")


def _single_object(data: bytes) -> object | None:
    """The object that is the whole file, for `.json` files written over several lines."""
    value = _decode(data)
    return value if isinstance(value, dict) else None


def _list_items(text: str, path: str) -> Iterator[tuple[int, object]]:
    """The elements of one JSON list, each with the line on which it begins."""
    decoder = json.JSONDecoder()
    line = 1
    line_counted_to = 0
    start = _skip_space(text, text.index("[") + 1)
    while text[start : start + 1] != "]":
        line += text.count("\n", line_counted_to, start)
        line_counted_to = start
        try:
            value, end = decoder.raw_decode(text, start)
        except (ValueError, RecursionError) as error:
            raise ValueError(
                f"{path}:{line}: the list cannot be read from here on: {error}"
            ) from None
        yield line, value

        start = _skip_space(text, end)
        if text[start : start + 1] == ",":
            start = _skip_space(text, start + 1)
        elif text[start : start + 1] != "]":
            raise ValueError(
                f"{path}:{line}: the list breaks off after the record that begins here; "
                "expected , or ] (one record a line without a list is fine too)"
            )
    if text[start + 1 :].strip():
        end_line = text.count("\n", 0, start) + 1
        raise ValueError(f"{path}:{end_line}: there is text after the end of the list")


def _skip_space(text: str, start: int) -> int:
    while text[start : start + 1] in (" ", "\t", "\r", "\n"):
        start += 1
    return start


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except FileNotFoundError:
        raise FileNotFoundError(_no_file(path)) from None
    except IsADirectoryError:
        names = sorted(file.name for file in path.iterdir() if file.suffix in SUFFIXES)[:MOST_HELD]
        held = f"; it holds {', '.join(names)}" if names else ""
        raise IsADirectoryError(
            f"{path} is a directory, expected a file of problems{held}"
        ) from None
    except PermissionError:
        raise PermissionError(f"{path} may not be read by this user") from None


def _no_file(path: Path) -> str:
    near = _neighbours(path)
    close = f"; close to it: {', '.join(near)}" if near else ""
    names = " or ".join(NAMES)
    return f"no file {path}{close}; give a file of problems, or {names}{_hub_advice(path)}"


def _hub_advice(path: Path) -> str:
    """What to do about the name of a data set, or an address, in the place of a file."""
    name = str(path)
    if name.startswith(("http:/", "https:/")):
        return "; nothing is downloaded here, fetch the file first"
    looks_like_file = name.endswith((".jsonl", ".json", ".csv", ".gz"))
    if not _HUB_NAME.fullmatch(name) or path.parent.is_dir() or looks_like_file:
        return ""
    name = re.sub(r"^hf:/+(?:datasets/)?", "", name)
    return (
        f"; if {name} is a data set of the Hugging Face hub: nothing is downloaded here, save a "
        f"split of it first: hf download {name} --repo-type dataset --local-dir {path.name}, then "
        "give one of its files; or in Python: "
        f"datasets.load_dataset({name!r}, split='test').to_json('problems.jsonl')"
    )


def _neighbours(path: Path) -> list[str]:
    try:
        names = [file.name for file in path.parent.iterdir()]
    except OSError:
        names = []
    return difflib.get_close_matches(path.name, [*names, *NAMES], n=3)
