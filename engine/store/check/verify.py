"""Is everything that a run says it holds there, whole and believable? And, if asked, set aside what
is not.

Order: sizes and manifests, checksums of whole files, then (in a child process) HDF5 structure and
values. A shard whose checksum is wrong is never opened.
"""

from __future__ import annotations

import contextlib
from collections.abc import Collection, Iterator
from pathlib import Path
from typing import Any, Literal, NamedTuple

from ..counts import count_text
from ..drawing import unit_of_decodings
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
        where = f"{self.shard}: " if self.shard else ""
        return f"{self.severity}: {where}{self.what}"


class VerifyReport(NamedTuple):
    """What was found (before any repair) and what was repaired. Problems merely not done yet are in
    `missing`."""

    n_shards: int
    n_problems: int
    expected: int
    missing: list[str]
    findings: list[Finding]
    repaired: list[str]
    unit: str = "problem"

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
        state = _look_at(run_dir, info, quick=quick)
        findings = list(_findings(state, quick=quick))
        repaired = _repair(state, findings) if repair else []
    stored = _stored_ids(state, quick=quick)
    audit = state.audit
    return VerifyReport(
        len(audit.sound) + len(audit.orphans) + len(audit.damaged),
        len(stored),
        len(state.order),
        [name for name in state.order if name not in stored],
        findings,
        repaired,
        state.unit,
    )


class RunState(NamedTuple):
    """All that was looked at. `checks` of shards that could be opened, none in a quick check;
    `order` is each problem's place in problems.jsonl, `unit` what each of them is."""

    run_dir: Path
    info: dict[str, Any]
    manifests: Manifests
    audit: Audit
    checks: list[ShardCheck]
    order: dict[str, int]
    unit: str


def _look_at(run_dir: Path, info: dict[str, Any], *, quick: bool) -> RunState:
    manifests = read_manifests(run_dir)
    audit = audit_files(run_dir, manifests, checksums=not quick)
    checks = [] if quick else _check_shards(run_dir, audit, info)
    problems = stored_problems(run_dir)
    order = {problem.id: place for place, problem in enumerate(problems)}
    unit = unit_of_decodings(problems)
    return RunState(run_dir, info, manifests, audit, checks, order, unit)


def _findings(state: RunState, *, quick: bool) -> Iterator[Finding]:
    yield from _file_findings(state.audit, state.manifests)
    yield from _leftovers(state.run_dir)
    yield from _head_findings(state.run_dir, state.info, quick=quick)
    for fault in beside_shards(state.run_dir, state.info, quick=quick):
        yield Finding(*fault)
    yield from _content_findings(state)
    if not quick:
        yield from _sum_findings(state)
    yield from _unknown_ids(_stored_ids(state, quick=quick), state.order)


def _check_shards(run_dir: Path, audit: Audit, info: dict[str, Any]) -> list[ShardCheck]:
    names = {*audit.sound, *(path.name for path in audit.orphans)}
    paths = [path for path in shard_paths(run_dir) if path.name in names]
    return list(checked_shards(paths, info))


def _file_findings(audit: Audit, manifests: Manifests) -> Iterator[Finding]:
    for name, what in sorted(audit.damaged.items()):
        yield Finding(name, what, "error")
    for name in audit.missing:
        yield Finding(name, "is named by a manifest but not there", "error")
    for path in audit.orphans:
        yield Finding(path.name, "has no manifest line", "warning")
    for place in manifests.unreadable:
        what = f"unreadable manifest line {place} (cut short by a crash, or damaged)"
        yield Finding("", what, "note")


def _head_findings(run_dir: Path, info: dict[str, Any], *, quick: bool) -> Iterator[Finding]:
    """Hidden states are of no use without the output head that turns them into logits."""
    path = run_dir / HEAD
    if path.exists():
        for check in [] if quick else checked_shards([path], info):
            for fault in check.faults:
                yield Finding(HEAD, fault, "error")
    elif (info.get("config") or {}).get("save_logits") == "hidden" and shard_paths(run_dir):
        what = "is missing, so logits cannot be rebuilt from the hidden states"
        yield Finding(HEAD, what, "error")


def _sum_findings(state: RunState) -> Iterator[Finding]:
    """Sums of hidden states that are damaged or not of their shards, and shards that no sum is
    over."""
    sound = [check.name for check in state.checks if not check.faults]
    info = {**state.info, "sound_shards": sound}
    damaged = set()
    for check in checked_shards(sum_paths(state.run_dir), info):
        for fault in check.faults:
            damaged.add(check.name)
            yield Finding(f"{SUMS}/{check.name}", fault, "error")

    if not (state.info.get("config") or {}).get("mean_hidden"):
        return
    summed = shards_in_sums(state.run_dir, without=damaged)
    for check in state.checks:
        if check.faults or check.has_shard_sums or check.name in summed:
            continue
        what = (
            "no sum of hidden states is over its "
            f"{count_text(len(check.problem_ids), state.unit)}, so nothing averaged over "
            "the run can be had"
        )
        yield Finding(check.name, what, "warning")


def _leftovers(run_dir: Path) -> Iterator[Finding]:
    for path in temporaries(run_dir):
        stale = "left by a writer that died" if is_stale(path) else "its writer may be at work"
        yield Finding(path.name, f"temporary file, {stale}", "note")


def _content_findings(state: RunState) -> Iterator[Finding]:
    for check in state.checks:
        for fault in check.faults:
            yield Finding(check.name, fault, "error")
    sound = [check for check in state.checks if not check.faults]
    for check in sound:
        for what in _strange(check, state):
            yield Finding(check.name, what, "error")
        if check.block != sound[0].block:
            what = f"its block boundaries differ from those of {sound[0].name}"
            yield Finding(check.name, what, "error")
    yield from _duplicates(sound, state.unit)


def _strange(check: ShardCheck, state: RunState) -> Iterator[str]:
    """How a readable shard disagrees with run.json, its manifest line or problems.jsonl."""
    for name, value in (("fingerprint", check.fingerprint), ("run_id", check.run_id)):
        if state.info.get(name) != value:
            yield f"{name} is {value!r}, run.json says {state.info.get(name)!r}"
    entry = state.audit.sound.get(check.name)
    if entry is not None and list(entry.problem_ids) != check.problem_ids:
        yield "its problem ids are not those in its manifest line"
    moved = [
        name
        for name, index in zip(check.problem_ids, check.places, strict=True)
        if state.order.get(name, index) != index
    ]
    if moved:
        yield f"index disagrees with problems.jsonl for {', '.join(moved[:5])}"


def _duplicates(sound: list[ShardCheck], unit: str) -> Iterator[Finding]:
    first: dict[str, str] = {}
    for check in sound:
        again = [
            name for name in check.problem_ids if first.setdefault(name, check.name) != check.name
        ]
        if again:
            what = (
                f"{len(again)} of its {count_text(len(check.problem_ids), unit)} "
                f"({', '.join(again[:5])}) stored in earlier shards too; those count"
            )
            yield Finding(check.name, what, "warning")


def _stored_ids(state: RunState, *, quick: bool) -> set[str]:
    if quick:
        return {name for entry in state.audit.sound.values() for name in entry.problem_ids}
    return {name for check in state.checks if not check.faults for name in check.problem_ids}


def _unknown_ids(stored: set[str], order: dict[str, int]) -> Iterator[Finding]:
    unknown = sorted(stored - set(order))
    if unknown:
        stored_text = count_text(len(unknown), "stored problem")
        what = f"{stored_text} not in problems.jsonl: {', '.join(unknown[:5])}"
        yield Finding("", what, "error")


def _repair(state: RunState, findings: list[Finding]) -> list[str]:
    """Set damaged and superfluous shards and damaged sums aside, adopt sound shards without a line,
    sweep; says what was done."""
    run_dir = state.run_dir
    damaged = {finding.shard for finding in findings if finding.severity == "error"}
    files = {name for name in damaged if name.endswith(".h5") and name != HEAD}
    sums = {name for name in files if name.startswith(f"{SUMS}/")}
    shards = files - sums
    shards |= set(_superfluous(state, shards))

    if shards or state.manifests.unreadable:
        quarantine(run_dir, shards)
    quarantine_sums(run_dir, sums)
    sweep_sums(run_dir, {path.name for path in shard_paths(run_dir)})
    done = []
    for name in sorted(shards):
        is_lost = name in state.audit.missing
        done.append(f"{name}: {'forgotten' if is_lost else 'moved to quarantine/'}")
    done += [f"{name}: moved to quarantine/" for name in sorted(sums)]
    done += _adopt_orphans(state, without=shards)
    return done + [f"{path.name}: deleted" for path in sweep_temporaries(run_dir)]


def _superfluous(state: RunState, damaged: Collection[str]) -> list[str]:
    """Shards that repeat problems of others, of those that are not `damaged`."""
    summed = {check.name for check in state.checks if check.has_shard_sums}
    summed |= shards_in_sums(state.run_dir)
    shards = [
        (check.name, check.problem_ids) for check in state.checks if check.name not in damaged
    ]
    return superfluous(shards, summed.__contains__, last_of_group=last_of_groups(state.run_dir))


def _adopt_orphans(state: RunState, *, without: Collection[str]) -> list[str]:
    orphans = {path.name for path in state.audit.orphans}.difference(without)
    done = []
    for check in state.checks:
        if check.name in orphans:
            adopt(
                state.run_dir,
                check.name,
                problem_ids=check.problem_ids,
                fingerprint=check.fingerprint,
            )
            done.append(f"{check.name}: manifest line written")
    return done
