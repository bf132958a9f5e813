"""Sorting a run's shards into sound, damaged and missing, by size and checksum; nothing is opened
with HDF5 and nothing changed. Shared by `verify` and by resuming.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import NamedTuple

from ..counts import count_text
from ..disk import file_sha256
from ..format.header import shard_paths
from ..format.seal import seal_fault
from ..write.manifest import Manifests, ShardEntry


class Audit(NamedTuple):
    """Shards by state. `sound` match their manifest line, `orphans` have none, `damaged` says what
    is wrong by name.

    `unreadable` are manifest lines, as `file:line`.
    """

    sound: dict[str, ShardEntry]
    orphans: list[Path]
    damaged: dict[str, str]
    missing: list[str]
    unreadable: list[str]


def audit_files(run_dir: Path, manifests: Manifests, *, checksums: bool) -> Audit:
    """Compare the shards that are there with the manifests, by size and (if `checksums`) by sha256
    of the content."""
    present = {path.name: path for path in shard_paths(run_dir)}
    sound = {}
    damaged = {}
    for name, entry in manifests.entries.items():
        if name not in present:
            continue
        fault = file_fault(present[name], entry, checksum=checksums)
        if fault is None:
            sound[name] = entry
        else:
            damaged[name] = fault

    orphans = []
    for name, path in present.items():
        if name in manifests.entries:
            continue
        fault = content_fault(path) if checksums else None
        if fault is None:
            orphans.append(path)
        else:
            damaged[name] = fault
    return Audit(
        sound=dict(sorted(sound.items())),
        orphans=orphans,
        damaged=damaged,
        missing=sorted(name for name in manifests.entries if name not in present),
        unreadable=manifests.unreadable,
    )


def content_fault(path: Path) -> str | None:
    """How a shard without a manifest line differs from its own seal, or from the digest in its
    name; or None.

    The name ends with the first 8 digits of the sha256, also in runs from before there was a seal.
    """
    try:
        if fault := seal_fault(path, whole=True):
            return fault
        in_name = re.search(r"-([0-9a-f]{8})\.h5$", path.name)
        if in_name is not None and not file_sha256(path).startswith(in_name[1]):
            return "its sha256 is not the one in its name: the content changed after it was written"
    except OSError as error:
        return f"cannot be read: {error.strerror or error}"
    return None


def file_fault(path: Path, entry: ShardEntry, *, checksum: bool) -> str | None:
    """How the file differs from its manifest line, or None."""
    try:
        size = path.stat().st_size
        if size != entry.bytes:
            return f"has {count_text(f'{size:,}', 'byte')}, its manifest says {entry.bytes:,}"
        if checksum and file_sha256(path) != entry.sha256:
            return (
                "its sha256 is not the one in its manifest: the content changed after it was "
                "written"
            )
    except OSError as error:
        return f"cannot be read: {error.strerror or error}"
    return None
