"""The seal at the end of an HDF5 file: checksums of the whole and of what HDF5 itself does not
protect.

HDF5 guards chunks of numbers by fletcher32, but not its own structure, nor strings and attributes:
a flipped bit there gives wrong text, or another problem's id, without a word. So behind the last
byte that HDF5 knows of (every reader ignores what follows it) stands one line of JSON:

    {"bytes": N, "sha256": of the N bytes before,
     "parts": [[start, length], ...], "parts_sha256": of the parts}

then the line's length in 12 digits and a mark of 16 bytes. The parts are all bytes outside chunks;
reading them costs little, so that every reader does. Without the mark a file comes from a version
that sealed none.
"""

from __future__ import annotations

import hashlib
import io
import json
import os
from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

import h5py

MARK = b"\ndiffengine-seal"
_DIGITS = 12
_AT_ONCE = 1 << 24

Span = tuple[int, int]


class Seal(NamedTuple):
    """What the last line of a file says. `parts` are (start, length) of all that is not in a
    chunk."""

    bytes: int
    sha256: str
    parts: list[Span]
    parts_sha256: str


def append_seal(image: io.BytesIO) -> None:
    """Seal a finished HDF5 file in memory."""
    inner = hashlib.sha256()
    # A view that an error carried away would, in some versions of Python 3.12, end the process
    # when it is collected.
    with image.getbuffer() as content:
        size = len(content)
        parts = _outside(chunk_spans(image), size)
        for start, length in parts:
            inner.update(content[start : start + length])
        whole = hashlib.sha256(content).hexdigest()
    line = json.dumps(Seal(size, whole, parts, inner.hexdigest())._asdict()).encode("ascii")
    image.seek(size)
    image.write(line + f"{len(line):0{_DIGITS}d}".encode() + MARK)


def chunk_spans(image: io.BytesIO) -> list[Span]:
    """Start and length of every chunk in the file that carries a fletcher32 checksum."""
    spans: list[Span] = []

    def note(chunk: h5py.h5d.StoreInfo) -> None:
        spans.append((int(chunk.byte_offset), int(chunk.size)))

    def visit(name: str, item: h5py.Dataset | h5py.Group) -> None:
        if isinstance(item, h5py.Dataset) and item.chunks is not None and item.fletcher32:
            item.id.chunk_iter(note)

    with h5py.File(image, "r") as file:
        file.visititems(visit)
    return spans


def seal_fault(path: Path, *, whole: bool = False) -> str | None:
    """How the file differs from its seal, or None; also None where it carries no seal.

    `whole`: compare every byte, not only those outside chunks. Raises OSError.
    """
    with open(path, "rb") as stream:
        try:
            seal = _read(stream)
        except (ValueError, TypeError):
            return "the seal at its end is damaged"
        if seal is None:
            return None
        if whole and _digest(stream, [(0, seal.bytes)]) != seal.sha256:
            return "its content is not that of its seal: it changed after it was written"
        if _digest(stream, seal.parts) != seal.parts_sha256:
            return "its structure or text is not that of its seal: it changed after it was written"
    return None


def is_sealed(path: Path) -> bool:
    """Whether the file ends with the mark of a seal."""
    with open(path, "rb") as stream:
        size = stream.seek(0, os.SEEK_END)
        stream.seek(max(0, size - len(MARK)))
        return stream.read() == MARK


def _read(stream: io.BufferedReader) -> Seal | None:
    """The seal, None if there is none; ValueError or TypeError if it cannot be one."""
    size = stream.seek(0, os.SEEK_END)
    tail = _DIGITS + len(MARK)
    stream.seek(max(0, size - tail))
    end = stream.read()
    if not end.endswith(MARK):
        return None
    length = int(end[:_DIGITS])
    start = size - tail - length
    if start < 0:
        raise ValueError(length)
    stream.seek(start)
    seal = Seal(**json.loads(stream.read(length)))
    if seal.bytes != start:
        raise ValueError(seal.bytes)
    return seal._replace(parts=[(int(first), int(count)) for first, count in seal.parts])


def _digest(stream: io.BufferedReader, spans: Iterable[Span]) -> str:
    digest = hashlib.sha256()
    for start, length in spans:
        stream.seek(start)
        rest = length
        while rest > 0 and (part := stream.read(min(rest, _AT_ONCE))):
            digest.update(part)
            rest -= len(part)
    return digest.hexdigest()


def _outside(chunks: list[Span], size: int) -> list[Span]:
    """The gaps between the chunks of a file of `size` bytes."""
    gaps: list[Span] = []
    position = 0
    for start, length in sorted(chunks):
        if start > position:
            gaps.append((position, start - position))
        position = max(position, start + length)
    if size > position:
        gaps.append((position, size - position))
    return gaps
