"""Is everything that a run says it holds there, whole and believable? And, if asked, set aside what
is not.

Order: sizes and manifests, checksums of whole files, then (in a child process) HDF5 structure and
values. A shard whose checksum is wrong is never opened.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterable
from pathlib import Path
from typing import Any, Literal, NamedTuple

from ..format.header import shard_paths
from ..format.output_head import HEAD
from ..lock import RunLock
from ..read.run import read_info, stored_problems
from ..temporaries import is_stale, sweep_temporaries, temporaries
from ..write.hidden_sums import (
    last_of_groups,
    quarantine_sums,
    shards_in_sums,
    sum_paths,
    sweep_sums,
)
from ..write.manifest import Manifests, read_manifests
from .audit import Audit, audit_files
from .beside import beside_shards
from .child import checked_shards
from .repair import adopt, quarantine, superfluous
from .shard_check import ShardCheck

SUMS = "sums"

Severity = Literal["error", "warning", "note"]


class Finding(NamedTuple):
    """One thing that is not as it should be. `shard` is the file it concerns, empty for the run as
    a whole."""

    shard: str
    what: str
    severity: Severity

    def __str__(self) -> str:
        return f"{self.severity}: {self.shard + ': ' if self.shard else ''}{self.what}"


class VerifyReport(NamedTuple):
    """What was found (before any repair) and what was repaired. Problems merely not done yet are in
    `missing`."""

    n_shards: int
    n_problems: int
    expected: int
    missing: list[str]
    findings: list[Finding]
    repaired: list[str]

    @property
    def ok(self) -> bool:
        """True if nothing is damaged; the run may still be unfinished."""
        return not any(finding.severity == "error" for finding in self.findings)

    @property
    def complete(self) -> bool:
        """True if nothing is damaged and every problem is stored."""
        return self.ok and not self.missing


def verify_run(path: str | Path, *, quick: bool = False, repair: bool = False) -> VerifyReport:
    """Check a run. `quick`: only that files are there with the sizes the manifests say.

    `repair` moves damaged shards to `quarantine/` and drops their manifest lines, so that the same
    `diffengine run` redoes just their problems; sound shards without a line get one. The report
    still tells what was found. Raises NotARun, and with `repair` RunLocked if the run is in use.
    """
    run_dir = Path(path)
    info = read_info(run_dir)
    with RunLock(run_dir) if repair else contextlib.nullcontext():
        manifests = read_manifests(run_dir)
        audit = audit_files(run_dir, manifests, checksums=not quick)
        opened = [] if quick else _open_shards(run_dir, audit, info)
        found = [
            *_file_findings(audit, manifests),
            *_leftovers(run_dir),
            *_head_findings(run_dir, info, quick),
        ]
        found += [Finding(*each) for each in beside_shards(run_dir, info, quick=quick)]
        order = {problem.id: place for place, problem in enumerate(stored_problems(run_dir))}
        found += _content_findings(opened, audit, info, order)
        found += [] if quick else _sum_findings(run_dir, opened, info)
        stored = _stored_ids(opened, audit, quick)
        found += _unknown_ids(stored, order)
        repaired = _repair(run_dir, found, opened, audit, manifests) if repair else []
    missing = [name for name in order if name not in stored]
    return VerifyReport(
        len(audit.sound) + len(audit.orphans) + len(audit.damaged),
        len(stored),
        len(order),
        missing,
        found,
        repaired,
    )


def _open_shards(run_dir: Path, audit: Audit, info: dict[str, Any]) -> list[ShardCheck]:
    names = {*audit.sound, *(path.name for path in audit.orphans)}
    return list(checked_shards([path for path in shard_paths(run_dir) if path.name in names], info))


def _file_findings(audit: Audit, manifests: Manifests) -> Iterable[Finding]:
    yield from (Finding(name, what, "error") for name, what in sorted(audit.damaged.items()))
    yield from (
        Finding(name, "is named by a manifest but not there", "error") for name in audit.missing
    )
    yield from (Finding(path.name, "has no manifest line", "warning") for path in audit.orphans)
    yield from (
        Finding("", f"unreadable manifest line {place} (cut short by a crash, or damaged)", "note")
        for place in manifests.unreadable
    )


def _head_findings(run_dir: Path, info: dict[str, Any], quick: bool) -> Iterable[Finding]:
    """Hidden states are of no use without the output head that turns them into logits."""
    path = run_dir / HEAD
    if path.exists():
        checks = [] if quick else checked_shards([path], info)
        yield from (Finding(HEAD, fault, "error") for check in checks for fault in check.faults)
    elif (info.get("config") or {}).get("save_logits") == "hidden" and shard_paths(run_dir):
        yield Finding(
            HEAD, "is missing, so logits cannot be rebuilt from the hidden states", "error"
        )


def _sum_findings(
    run_dir: Path, opened: list[ShardCheck], info: dict[str, Any]
) -> Iterable[Finding]:
    """Sums of hidden states that are damaged or not of their shards, and shards that no sum is
    over."""
    sound = [check.name for check in opened if not check.faults]
    checks = list(checked_shards(sum_paths(run_dir), {**info, "sound_shards": sound}))
    for check in checks:
        yield from (Finding(f"{SUMS}/{check.name}", fault, "error") for fault in check.faults)

    if not (info.get("config") or {}).get("mean_hidden"):
        return
    summed = shards_in_sums(run_dir, without={check.name for check in checks if check.faults})
    for check in opened:
        if not (check.faults or check.has_shard_sums or check.name in summed):
            what = f"no sum of hidden states is over its {len(check.problem_ids)} problems"
            yield Finding(
                check.name, f"{what}, so nothing averaged over the run can be had", "warning"
            )


def _leftovers(run_dir: Path) -> Iterable[Finding]:
    for path in temporaries(run_dir):
        stale = "left by a writer that died" if is_stale(path) else "its writer may be at work"
        yield Finding(path.name, f"temporary file, {stale}", "note")


def _content_findings(
    opened: list[ShardCheck], audit: Audit, info: dict[str, Any], order: dict[str, int]
) -> list[Finding]:
    found = [Finding(check.name, fault, "error") for check in opened for fault in check.faults]
    sound = [check for check in opened if not check.faults]
    for check in sound:
        found += [
            Finding(check.name, what, "error") for what in _belonging(check, info, audit, order)
        ]
        if check.block != sound[0].block:
            found.append(
                Finding(
                    check.name,
                    f"its block boundaries differ from those of {sound[0].name}",
                    "error",
                )
            )
    return found + _duplicates(sound)


def _belonging(
    check: ShardCheck, info: dict[str, Any], audit: Audit, order: dict[str, int]
) -> Iterable[str]:
    """How a readable shard disagrees with run.json, its manifest line or problems.jsonl."""
    for name, value in (("fingerprint", check.fingerprint), ("run_id", check.run_id)):
        if info.get(name) != value:
            yield f"{name} is {value!r}, run.json says {info.get(name)!r}"
    entry = audit.sound.get(check.name)
    if entry is not None and list(entry.problem_ids) != check.problem_ids:
        yield "its problem ids are not those in its manifest line"
    moved = [
        name
        for name, index in zip(check.problem_ids, check.places, strict=True)
        if order.get(name, index) != index
    ]
    if moved:
        yield f"index disagrees with problems.jsonl for {', '.join(moved[:5])}"


def _duplicates(sound: list[ShardCheck]) -> list[Finding]:
    first: dict[str, str] = {}
    found = []
    for check in sound:
        again = [
            name for name in check.problem_ids if first.setdefault(name, check.name) != check.name
        ]
        if again:
            share = (
                f"{len(again)} of its {len(check.problem_ids)} problems ({', '.join(again[:5])})"
            )
            what = f"{share} are in earlier shards too; those count"
            found.append(Finding(check.name, what, "warning"))
    return found


def _stored_ids(opened: list[ShardCheck], audit: Audit, quick: bool) -> set[str]:
    if quick:
        return {name for entry in audit.sound.values() for name in entry.problem_ids}
    return {name for check in opened if not check.faults for name in check.problem_ids}


def _unknown_ids(stored: set[str], order: dict[str, int]) -> list[Finding]:
    unknown = sorted(stored - set(order))
    return (
        [
            Finding(
                "",
                f"{len(unknown)} stored problems are not in problems.jsonl: "
                f"{', '.join(unknown[:5])}",
                "error",
            )
        ]
        if unknown
        else []
    )


def _repair(
    run_dir: Path,
    found: list[Finding],
    opened: list[ShardCheck],
    audit: Audit,
    manifests: Manifests,
) -> list[str]:
    bad = {
        finding.shard
        for finding in found
        if finding.severity == "error" and finding.shard.endswith(".h5")
    } - {HEAD}
    bad_sums = {name for name in bad if name.startswith(f"{SUMS}/")}
    bad -= bad_sums
    sums = {check.name for check in opened if check.has_shard_sums} | shards_in_sums(run_dir)
    bad |= set(
        superfluous(
            ((check.name, check.problem_ids) for check in opened if check.name not in bad),
            sums.__contains__,
            last_of_group=last_of_groups(run_dir),
        )
    )
    if bad or manifests.unreadable:
        quarantine(run_dir, bad)
    done = [
        f"{name}: {'forgotten' if name in audit.missing else 'moved to quarantine/'}"
        for name in sorted(bad)
    ]
    quarantine_sums(run_dir, bad_sums)
    sweep_sums(run_dir, {path.name for path in shard_paths(run_dir)})
    done += [f"{name}: moved to quarantine/" for name in sorted(bad_sums)]
    orphans = {path.name for path in audit.orphans} - bad
    for check in opened:
        if check.name in orphans:
            adopt(run_dir, check.name, problem_ids=check.problem_ids, fingerprint=check.fingerprint)
            done.append(f"{check.name}: manifest line written")
    return done + [f"{swept.name}: deleted" for swept in sweep_temporaries(run_dir)]
