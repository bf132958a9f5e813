"""Mending a run directory so that it opens and a rerun redoes only what was lost: quarantine,
manifest lines, adoption.

Every step leaves the run in a state that the next repair understands, wherever it is killed. Only
for the holder of the run's lock.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Collection, Iterable
from pathlib import Path

from ..disk import file_sha256, fsync_directory
from ..format.schema import SCHEMA_VERSION
from ..write.manifest import ShardEntry, append_entry, drop_entries
from ..write.shard import shards_dir


def quarantine(run_dir: Path, names: Collection[str], *, worker: str | None = None) -> None:
    """Move shards to `quarantine/` and then drop their manifest lines (also those of shards that
    are not there).

    With `worker`, a dead one whose shards these all are, only its manifest is touched: the others'
    may be growing.
    """
    present = [name for name in sorted(names) if (shards_dir(run_dir) / name).exists()]
    if present:
        aside = run_dir / "quarantine"
        aside.mkdir(exist_ok=True)
        for name in present:
            os.replace(shards_dir(run_dir) / name, _free_name(aside, name))
        fsync_directory(aside)
        fsync_directory(shards_dir(run_dir))
    drop_entries(run_dir, names, worker=worker)


def adopt(
    run_dir: Path, name: str, *, problem_ids: Collection[str], fingerprint: str
) -> ShardEntry:
    """Write the manifest line of a sound shard that has none (its writer died between publishing
    and the line)."""
    path = shards_dir(run_dir) / name
    entry = ShardEntry(
        name,
        path.stat().st_size,
        file_sha256(path),
        tuple(problem_ids),
        fingerprint,
        SCHEMA_VERSION,
    )
    append_entry(run_dir, entry, worker=name.rsplit("-", 2)[0])
    return entry


def superfluous(
    shards: Iterable[tuple[str, Collection[str]]],
    has_sums: Callable[[str], bool],
    *,
    last_of_group: Collection[str] = (),
) -> list[str]:
    """Of shards with their problems those that add none, and those that repeat one and are in a sum
    over their problems, which would count it twice.

    Those that are the last of the group under one sum go rather than others: the sum before them is
    still there. Then shards with fewer problems rather than those with more.
    """

    def order(shard: tuple[str, Collection[str]]) -> tuple[bool, int, str]:
        name, problem_ids = shard
        return name in last_of_group, -len(problem_ids), name

    seen: set[str] = set()
    names = []
    for name, problem_ids in sorted(shards, key=order):
        repeated = seen & set(problem_ids)
        if repeated and (len(repeated) == len(problem_ids) or has_sums(name)):
            names.append(name)
        else:
            seen |= set(problem_ids)
    return names


def _free_name(directory: Path, name: str) -> Path:
    path = directory / name
    number = 0
    while path.exists():
        number += 1
        path = directory / f"{name}.{number}"
    return path
