"""Sorting a run's shards into sound, damaged and missing, by size and checksum; nothing is opened with HDF5 here.

Shared by `verify` and by resuming; changes nothing.
"""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

from .disk import file_sha256
from .header import shard_paths
from .manifest import Manifests, ShardEntry


class Audit(NamedTuple):
    """Shards by state. `sound` match their manifest line, `orphans` have none, `damaged` says what is wrong by name."""

    sound: dict[str, ShardEntry]
    orphans: list[Path]
    damaged: dict[str, str]
    missing: list[str]


def audit_files(run_dir: Path, manifests: Manifests, *, checksums: bool) -> Audit:
    """Compare the shards that are there with the manifests, by size and (if `checksums`) by sha256 of the content."""
    there = {path.name: path for path in shard_paths(run_dir)}
    faults = {
        name: file_fault(there[name], entry, checksum=checksums)
        for name, entry in manifests.entries.items()
        if name in there
    }
    return Audit(
        sound={name: manifests.entries[name] for name, fault in sorted(faults.items()) if fault is None},
        orphans=[path for name, path in there.items() if name not in manifests.entries],
        damaged={name: fault for name, fault in faults.items() if fault is not None},
        missing=sorted(name for name in manifests.entries if name not in there),
    )


def file_fault(path: Path, entry: ShardEntry, *, checksum: bool) -> str | None:
    """How the file differs from its manifest line, or None."""
    try:
        size = path.stat().st_size
        if size != entry.bytes:
            return f"has {size:,} bytes, its manifest says {entry.bytes:,}"
        if checksum and file_sha256(path) != entry.sha256:
            return "its sha256 is not the one in its manifest: the content changed after it was written"
    except OSError as error:
        return f"cannot be read: {error.strerror or error}"
    return None
