"""The manifests of a run: one line of JSON for each published shard, one file for each worker.

Manifests are a cache of what the shards hold and the place of their checksums; the truth is the
shards that are there. A line cut short by a crash is tolerated by readers and closed off by the
next append.
"""

from __future__ import annotations

import contextlib
import json
import os
from collections.abc import Collection, Iterable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from ..disk import fsync_directory, replace_content, storage_error, write_all
from ..format.stamp import is_intact, stamped

_LINE_STAMP = "line_sha256"  # `sha256` is that of the shard


class ShardEntry(NamedTuple):
    """One published shard: file name in `shards/`, size in bytes, sha256 of the file, its problems
    in row order."""

    name: str
    bytes: int
    sha256: str
    problem_ids: tuple[str, ...]
    fingerprint: str = ""
    schema_version: str = ""


class Manifests(NamedTuple):
    """All lines of all manifests, by shard name, and the lines that could not be read, as
    `file:line`."""

    entries: dict[str, ShardEntry]
    unreadable: list[str]


def manifest_path(run_dir: Path, worker: str) -> Path:
    """Where a worker's manifest lies."""
    return run_dir / f"manifest-{worker}.jsonl"


def append_entry(run_dir: Path, entry: ShardEntry, *, worker: str) -> None:
    """Append one line and flush it to the disk. A line left open by a crash is closed first.

    Raises StorageError if the disk refuses; the manifest is then as it was.
    """
    path = manifest_path(run_dir, worker)
    record = stamped({**entry._asdict(), "problem_ids": list(entry.problem_ids)}, key=_LINE_STAMP)
    line = json.dumps(record, ensure_ascii=False).encode("utf-8", "surrogatepass") + b"\n"
    try:
        _append_line(path, line)
    except OSError as error:
        raise storage_error(error, path, needed=len(line)) from error


def _append_line(path: Path, line: bytes) -> None:
    is_new = not path.exists()
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o644)
    try:
        if is_new:
            fsync_directory(path.parent)
        size = os.fstat(descriptor).st_size
        is_open = size > 0 and os.pread(descriptor, 1, size - 1) != b"\n"
        try:
            write_all(descriptor, b"\n" + line if is_open else line)
            os.fsync(descriptor)
        except OSError:
            with contextlib.suppress(OSError):
                os.ftruncate(descriptor, size)
            raise
    finally:
        os.close(descriptor)


def read_manifests(run_dir: Path) -> Manifests:
    """Every worker's manifest. Of two lines for one shard the later counts; broken lines are
    listed, not raised."""
    entries: dict[str, ShardEntry] = {}
    unreadable: list[str] = []
    for path in sorted(run_dir.glob("manifest-*.jsonl")):
        for number, line in enumerate(path.read_bytes().split(b"\n"), start=1):
            entry = _parse(line)
            if entry is not None:
                entries[entry.name] = entry
            elif line.strip():
                unreadable.append(f"{path.name}:{number}")
    return Manifests(entries, unreadable)


def drop_entries(run_dir: Path, names: Iterable[str], *, worker: str | None = None) -> None:
    """Rewrite the manifests (or one `worker`'s) without these shards and without unreadable lines,
    atomically.

    Only for the holder of the run's lock: a line that a worker appends meanwhile would be lost.
    """
    dropped = set(names)
    paths = sorted(run_dir.glob("manifest-*.jsonl"))
    if worker is not None:
        paths = [path for path in paths if path == manifest_path(run_dir, worker)]
    for path in paths:
        lines = [line for line in path.read_bytes().split(b"\n") if line.strip()]
        kept = [line for line in lines if _is_kept(line, dropped)]
        if len(kept) < len(lines):
            replace_content(path, b"".join(line + b"\n" for line in kept))


def _is_kept(line: bytes, dropped: Collection[str]) -> bool:
    entry = _parse(line)
    return entry is not None and entry.name not in dropped


def _parse(line: bytes) -> ShardEntry | None:
    try:
        record = json.loads(line.decode("utf-8", "surrogatepass"))
        return _entry(record)
    except (ValueError, TypeError, KeyError):
        return None


def _entry(record: Mapping[str, Any]) -> ShardEntry:
    if not isinstance(record, dict) or not is_intact(record, key=_LINE_STAMP):
        raise ValueError("the line is not as it was written")
    name = str(record["name"])
    if name != os.path.basename(name):
        raise ValueError(name)
    return ShardEntry(
        name=name,
        bytes=int(record["bytes"]),
        sha256=str(record["sha256"]),
        problem_ids=tuple(str(each) for each in record["problem_ids"]),
        fingerprint=str(record.get("fingerprint", "")),
        schema_version=str(record.get("schema_version", "")),
    )
