"""Where problems come from: raw records, with line numbers, from a file, standard input, the
samples or the generator.

A file is JSON lines, one JSON list when it opens with `[`, a table or parquet, by what it holds and
not by its name. Knows nothing of what a record means, nor of ids.
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
from .formats import RecordError
from .tables import delimiter_of, parquet_records, table_records

GENERATED = re.compile(r"generated:(\d{1,9})(?::seed=([^:\s]+))?")
MOST_GENERATED = 1_000_000
NAMES = ("samples", "generated:N")
STANDARD_INPUT = "standard input"
_HUB_NAME = re.compile(r"(?:hf:/+(?:datasets/)?)?[A-Za-z0-9][\w-]*/[A-Za-z0-9][\w.-]*")
_PACKED = (".gz", ".bz2", ".xz")
_KINDS = (".jsonl", ".json", ".csv", ".tsv", ".parquet", *_PACKED)


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
            f"{name!r} names no problems; expected generated:N or generated:N:seed=S with N from "
            "1 to "
            f"{MOST_GENERATED}, for example generated:20:seed=1"
        )
    from ..models.bundled.generator import word_problems

    stream = word_problems(f"held-out {match[2] or 0}", held_out=True)
    for number, problem in enumerate(islice(stream, int(match[1])), 1):
        yield (
            number,
            {"question": problem.question, "answer": problem.answer, "solution": problem.solution},
        )


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
    kind = path.with_suffix("") if path.suffix.lower() in _PACKED else path
    return raw_records(_read(path), str(path), suffix=kind.suffix.lower())


def raw_records(data: bytes, name: str, *, suffix: str) -> Iterator[tuple[int, object]]:
    """(line, decoded value) for every record in the bytes of a file; a RecordError in place of a
    line that is not JSON.

    Raises ValueError where it is of no form that is read, or a JSON list breaks off, because
    nothing can be read after that.
    """
    data = plain_bytes(data, name)
    if data.startswith(PARQUET):
        return parquet_records(data, name)
    if data.lstrip()[:1] == b"[":
        return _list_items(_decoded(data, name), name)
    if suffix == ".json" and (whole := _single_object(data)) is not None:
        return iter([(1, whole)])
    if data.lstrip()[:1] != b"{" and data.strip():
        head = data[:65536].decode("utf-8", errors="replace")
        if (delimiter := delimiter_of(head, suffix)) is not None:
            return table_records(_decoded(data, name), delimiter, name)
        if not re.search(rb"^\s*[{\[]", data, re.MULTILINE):
            start = head.strip().partition("\n")[0]
            if not _is_json(start):
                raise ValueError(
                    f"{name} begins with {start[:40]!r}, which is none of the forms that are read: "
                    f"{READ_FORMS}"
                )
    return _lines(data)


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
    at = _next(text, text.index("[") + 1)
    line = 1
    counted = 0
    decoder = json.JSONDecoder()
    while text[at : at + 1] != "]":
        line = line + text.count("\n", counted, at)
        counted = at
        try:
            value, at = decoder.raw_decode(text, at)
        except (ValueError, RecursionError) as error:
            raise ValueError(
                f"{path}:{line}: the list cannot be read from here on: {error}"
            ) from None
        yield line, value
        at = _next(text, at)
        if text[at : at + 1] == ",":
            at = _next(text, at + 1)
        elif text[at : at + 1] != "]":
            raise ValueError(
                f"{path}:{line}: the list breaks off after the record that begins here; "
                "expected , or ] (one record a line without a list is fine too)"
            )
    if text[at + 1 :].strip():
        raise ValueError(
            f"{path}:{text.count(chr(10), 0, at) + 1}: there is text after the end of the list"
        )


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
        message = f"no file {path}{found}; give a file of problems, or {known}"
        raise FileNotFoundError(message + _hub_advice(path)) from None
    except IsADirectoryError:
        held = sorted(one.name for one in path.iterdir() if one.suffix in _KINDS)[:5]
        found = f"; it holds {', '.join(held)}" if held else ""
        raise IsADirectoryError(
            f"{path} is a directory, expected a file of problems{found}"
        ) from None
    except PermissionError:
        raise PermissionError(f"{path} may not be read by this user") from None


def _hub_advice(path: Path) -> str:
    """What to do about the name of a data set, or an address, in the place of a file."""
    name = str(path)
    if name.startswith(("http:/", "https:/")):
        return "; nothing is downloaded here, fetch the file first"
    if (
        not _HUB_NAME.fullmatch(name)
        or path.parent.is_dir()
        or name.endswith((".jsonl", ".json", ".csv", ".gz"))
    ):
        return ""
    name = re.sub(r"^hf:/+(?:datasets/)?", "", name)
    return (
        f"; if {name} is a data set of the Hugging Face hub: nothing is downloaded here, save a "
        "split of it first: "
        f"hf download {name} --repo-type dataset --local-dir {path.name}, then give one of its "
        "files; or in Python: "
        f"datasets.load_dataset({name!r}, split='test').to_json('problems.jsonl')"
    )


def _neighbours(path: Path) -> list[str]:
    try:
        names = [one.name for one in path.parent.iterdir()]
    except OSError:
        names = []
    return difflib.get_close_matches(path.name, [*names, *NAMES], n=3)
