"""What is already done when a run starts again, and clearing away what a crash left behind."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import NamedTuple

from .audit import Audit, audit_files
from .deep import ShardCheck
from .errors import DamagedRun
from .guard import checked_shards
from .manifest import read_manifests
from .repair import adopt, quarantine
from .temporaries import sweep_temporaries

__all__ = ["Resumed", "completed_ids", "resume_run", "sweep_temporaries"]


class Resumed(NamedTuple):
    """Ids that need no second run, and what was cleared away: names of damaged or missing shards, temporary files."""

    done: set[str]
    quarantined: dict[str, str]
    swept: list[Path]


def completed_ids(run_dir: str | Path, *, fingerprint: str) -> set[str]:
    """Ids of problems in shards whose sha256 matches the manifest, or that have no line there but are sound throughout.

    Changes nothing. Raises DamagedRun if a shard comes from another configuration than `fingerprint`.
    """
    return _done(*_look(Path(run_dir), fingerprint))


def resume_run(run_dir: str | Path, *, fingerprint: str) -> Resumed:
    """Make the run ready to go on: sweep temporary files, put damaged shards aside, forget missing ones, adopt orphans.

    The caller holds the run's lock. Raises DamagedRun, before anything is changed, if a shard comes from another
    configuration.
    """
    path = Path(run_dir)
    audit, orphans = _look(path, fingerprint)
    bad = {**audit.damaged, **{name: "is missing" for name in audit.missing}}
    bad.update({check.name: "; ".join(check.faults) for check in orphans if check.faults})
    if bad:
        quarantine(path, bad)
    for check in orphans:
        if not check.faults:
            adopt(path, check.name, problem_ids=check.problem_ids, fingerprint=check.fingerprint)
    return Resumed(_done(audit, orphans), bad, sweep_temporaries(path))


def _look(run_dir: Path, fingerprint: str) -> tuple[Audit, list[ShardCheck]]:
    audit = audit_files(run_dir, read_manifests(run_dir), checksums=True)
    orphans = list(checked_shards(audit.orphans, {}))
    _refuse_others(_fingerprints(audit, orphans), fingerprint, run_dir)
    return audit, orphans


def _fingerprints(audit: Audit, orphans: Iterable[ShardCheck]) -> Iterator[tuple[str, str]]:
    yield from ((name, entry.fingerprint) for name, entry in audit.sound.items())
    yield from ((check.name, check.fingerprint) for check in orphans if not check.faults)


def _refuse_others(found: Iterable[tuple[str, str]], fingerprint: str, run_dir: Path) -> None:
    others = [(name, other) for name, other in found if other != fingerprint]
    if others:
        name, other = others[0]
        raise DamagedRun(
            f"{run_dir} holds {len(others)} shards of another configuration, the first {name} (fingerprint {other}, "
            f"this run has {fingerprint}); choose another directory with --out"
        )


def _done(audit: Audit, orphans: Iterable[ShardCheck]) -> set[str]:
    done = {name for entry in audit.sound.values() for name in entry.problem_ids}
    return done | {name for check in orphans if not check.faults for name in check.problem_ids}
