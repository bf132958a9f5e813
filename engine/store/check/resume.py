"""What is already done when a run starts again, and clearing away what a crash left behind."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import NamedTuple

import h5py

from ..counts import count_text
from ..errors import DamagedRun
from ..format.header import shard_paths
from ..temporaries import sweep_temporaries
from ..write.hidden_sums import last_of_groups, shards_in_sums, sweep_sums
from ..write.manifest import read_manifests
from ..write.shard import shards_dir
from .audit import Audit, audit_files, content_fault
from .child import checked_shards
from .repair import adopt, quarantine, superfluous
from .shard_check import ShardCheck

__all__ = [
    "Resumed",
    "completed_ids",
    "resume_run",
    "set_aside_repeats",
    "settle_worker",
]


class Resumed(NamedTuple):
    """Ids that need no second run, and what was cleared away: names of damaged or missing shards,
    temporary files."""

    done: set[str]
    quarantined: dict[str, str]
    swept: list[Path]


def completed_ids(run_dir: str | Path, *, fingerprint: str) -> set[str]:
    """Ids of problems in shards whose sha256 matches the manifest, or that have no line there but
    are sound throughout.

    Changes nothing. Raises DamagedRun if a shard comes from another configuration than
    `fingerprint`.
    """
    return _done(*_examine(Path(run_dir), fingerprint))


def resume_run(run_dir: str | Path, *, fingerprint: str) -> Resumed:
    """Make the run ready to go on: sweep temporary files, put damaged and repeated shards aside,
    forget missing ones, adopt orphans.

    The caller holds the run's lock. Raises DamagedRun, before anything is changed, if a shard comes
    from another configuration.
    """
    path = Path(run_dir)
    audit, orphans = _examine(path, fingerprint)
    bad = {**audit.damaged, **dict.fromkeys(audit.missing, "is missing")}
    for check in orphans:
        if check.faults:
            bad[check.name] = "; ".join(check.faults)
    if bad or audit.unreadable:
        quarantine(path, bad)
    for check in orphans:
        if not check.faults:
            adopt(path, check.name, problem_ids=check.problem_ids, fingerprint=check.fingerprint)

    repeats = set_aside_repeats(path)
    bad.update(dict.fromkeys(repeats.names, "repeats problems of another shard"))
    return Resumed(_done(audit, orphans) - repeats.lost, bad, sweep_temporaries(path))


class Repeats(NamedTuple):
    """Shards that were set aside because they repeat problems, and the problems that were in them
    alone."""

    names: list[str]
    lost: set[str]


def set_aside_repeats(run_dir: str | Path) -> Repeats:
    """Quarantine shards that repeat problems of others, as a worker leaves that was given up but
    lived on, and delete the sums that wider ones replace.

    Only for the holder of the run's lock; shards without a manifest line are not looked at.
    """
    path = Path(run_dir)
    entries = read_manifests(path).entries
    summed = shards_in_sums(path)
    names = superfluous(
        [(name, entry.problem_ids) for name, entry in entries.items()],
        lambda name: name in summed or _has_sums(path, name),
        last_of_group=last_of_groups(path),
    )
    if names:
        quarantine(path, names)
    sweep_sums(path, {shard.name for shard in shard_paths(path)})

    removed: set[str] = set()
    kept: set[str] = set()
    for name, entry in entries.items():
        (removed if name in names else kept).update(entry.problem_ids)
    return Repeats(names, removed - kept)


def _has_sums(run_dir: Path, name: str) -> bool:
    with h5py.File(shards_dir(run_dir) / name, "r") as file:
        return "hidden_sum" in file


def settle_worker(run_dir: str | Path, worker: str, *, fingerprint: str) -> dict[str, int]:
    """What a dead worker had published: problem ids with their verdicts. Its shards without a
    manifest line get one.

    The caller holds the run's lock and knows that no other worker has this name. An unsound shard
    is set aside.
    """
    path = Path(run_dir)
    entries = read_manifests(path).entries
    mine = [shard for shard in shard_paths(path) if shard.name.rsplit("-", 2)[0] == worker]
    alone = [shard for shard in mine if shard.name not in entries]
    spoilt = [shard for shard in alone if content_fault(shard)]
    quarantine(path, [shard.name for shard in spoilt], worker=worker)
    for check in checked_shards([shard for shard in alone if shard not in spoilt], {}):
        if check.faults or check.fingerprint != fingerprint:
            quarantine(path, [check.name], worker=worker)
        else:
            adopt(path, check.name, problem_ids=check.problem_ids, fingerprint=fingerprint)

    verdicts: dict[str, int] = {}
    for shard in mine:
        if shard.exists():
            verdicts |= _verdicts(shard)
    return verdicts


def _verdicts(shard: Path) -> dict[str, int]:
    with h5py.File(shard, "r") as file:
        names = file["problem_id"].asstr()[...]
        return dict(zip(names, file["verdict"][...].tolist(), strict=True))


def _examine(run_dir: Path, fingerprint: str) -> tuple[Audit, list[ShardCheck]]:
    audit = audit_files(run_dir, read_manifests(run_dir), checksums=True)
    orphans = list(checked_shards(audit.orphans, {}))
    _refuse_others(_fingerprints(audit, orphans), fingerprint, run_dir)
    return audit, orphans


def _fingerprints(audit: Audit, orphans: Iterable[ShardCheck]) -> Iterator[tuple[str, str]]:
    for name, entry in audit.sound.items():
        yield name, entry.fingerprint
    for check in orphans:
        if not check.faults:
            yield check.name, check.fingerprint


def _refuse_others(shards: Iterable[tuple[str, str]], fingerprint: str, run_dir: Path) -> None:
    others = [(name, other) for name, other in shards if other != fingerprint]
    if others:
        name, other = others[0]
        raise DamagedRun(
            f"{run_dir} holds {count_text(len(others), 'shard')} of another configuration, the "
            f"first {name} "
            f"(fingerprint {other}, this run has {fingerprint}); "
            "choose another directory with --out"
        )


def _done(audit: Audit, orphans: Iterable[ShardCheck]) -> set[str]:
    done = {name for entry in audit.sound.values() for name in entry.problem_ids}
    return done | {name for check in orphans if not check.faults for name in check.problem_ids}
