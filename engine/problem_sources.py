"""Where problems come from: raw records, with line numbers, out of a file, the bundled samples or the generator.

A file is JSON lines, or one JSON list when it opens with `[`. Knows nothing of what a record means, nor of ids.
"""

from __future__ import annotations

import difflib
import json
import re
from collections.abc import Iterator
from importlib import resources
from itertools import islice
from pathlib import Path

from .problem_formats import RecordError

GENERATED = re.compile(r"generated:(\d{1,9})(?::seed=([^:\s]+))?")
MOST_GENERATED = 1_000_000
NAMES = ("samples", "generated:N")
_BOM = b"\xef\xbb\xbf"


def sample_file() -> Path:
    """The file of the ten bundled sample problems."""
    return Path(str(resources.files("diffengine.engine"))) / "data" / "sample_problems.jsonl"


def generated(name: str) -> Iterator[tuple[int, object]]:
    """(number, record) of the first N held-out word problems of seed S (default 0), for `generated:N[:seed=S]`.

    A larger N of the same seed begins with the same problems. Raises ValueError for a name that is not of that form.
    """
    match = GENERATED.fullmatch(name)
    if match is None or not 1 <= int(match[1]) <= MOST_GENERATED:
        raise ValueError(f"{name!r} names no problems; expected generated:N or generated:N:seed=S with N from 1 to "
                         f"{MOST_GENERATED}, for example generated:20:seed=1")
    from .models.bundled.generator import word_problems

    stream = word_problems(f"held-out {match[2] or 0}", held_out=True)
    for number, problem in enumerate(islice(stream, int(match[1])), 1):
        yield number, {"question": problem.question, "answer": problem.answer, "solution": problem.solution}


def raw_records(path: Path) -> Iterator[tuple[int, object]]:
    """(line, decoded JSON value) for every record of a file; a RecordError in place of a line that is not JSON.

    Raises OSError where the file cannot be read, ValueError where a JSON list breaks off, because nothing can be read
    after that.
    """
    data = _read(path)
    if data.startswith((b"\xff\xfe", b"\xfe\xff")):
        raise ValueError(f"{path} is UTF-16, expected UTF-8; convert it: iconv -f UTF-16 -t UTF-8")
    data = data.removeprefix(_BOM)
    if data.lstrip()[:1] == b"[":
        return _list_items(data, path)
    if path.suffix == ".json" and (whole := _single_object(data)) is not None:
        return iter([(1, whole)])
    return _lines(data)


def _lines(data: bytes) -> Iterator[tuple[int, object]]:
    for number, line in enumerate(data.split(b"\n"), 1):
        if line.strip():
            yield number, _decode(line)


def _decode(line: bytes) -> object:
    try:
        return json.loads(line.decode("utf-8"))
    except UnicodeDecodeError as error:
        return RecordError(f"byte {error.start + 1} of the line (0x{line[error.start]:02x}) is not UTF-8")
    except json.JSONDecodeError as error:
        return RecordError(f"not JSON: {error.msg} at column {error.colno}")
    except (ValueError, RecursionError) as error:
        return RecordError(f"not JSON that can be read: {error}")


def _single_object(data: bytes) -> object | None:
    """The object that is the whole file, for `.json` files written over several lines."""
    value = _decode(data)
    return value if isinstance(value, dict) else None


def _list_items(data: bytes, path: Path) -> Iterator[tuple[int, object]]:
    """The elements of one JSON list, each with the line on which it begins."""
    try:
        text = data.decode("utf-8")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise ValueError(f"{path}:{line}: byte 0x{data[error.start]:02x} is not UTF-8") from None
    at, line, counted = _next(text, text.index("[") + 1), 1, 0
    decoder = json.JSONDecoder()
    while text[at : at + 1] != "]":
        line, counted = line + text.count("\n", counted, at), at
        try:
            value, at = decoder.raw_decode(text, at)
        except (ValueError, RecursionError) as error:
            raise ValueError(f"{path}:{line}: the list cannot be read from here on: {error}") from None
        yield line, value
        at = _next(text, at)
        if text[at : at + 1] == ",":
            at = _next(text, at + 1)
        elif text[at : at + 1] != "]":
            raise ValueError(f"{path}:{line}: the list breaks off after the record that begins here; "
                             "expected , or ] (one record a line without a list is fine too)")
    if text[at + 1 :].strip():
        raise ValueError(f"{path}:{text.count(chr(10), 0, at) + 1}: there is text after the end of the list")


def _next(text: str, at: int) -> int:
    while text[at : at + 1] in (" ", "\t", "\r", "\n"):
        at += 1
    return at


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except FileNotFoundError:
        near = _neighbours(path)
        found = f"; close to it: {', '.join(near)}" if near else ""
        known = " or ".join(NAMES)
        raise FileNotFoundError(f"no file {path}{found}; give a file of problems, or {known}") from None
    except IsADirectoryError:
        held = sorted(one.name for one in path.iterdir() if one.suffix in (".jsonl", ".json"))[:5]
        found = f"; it holds {', '.join(held)}" if held else ""
        raise IsADirectoryError(f"{path} is a directory, expected a file of problems{found}") from None
    except PermissionError:
        raise PermissionError(f"{path} may not be read by this user") from None


def _neighbours(path: Path) -> list[str]:
    try:
        names = [one.name for one in path.parent.iterdir()]
    except OSError:
        names = []
    return difflib.get_close_matches(path.name, [*names, *NAMES], n=3)
