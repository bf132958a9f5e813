"""`diffengine inspect` and `verify`: what a run holds, and whether it is sound."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from ..store.counts import count_text
from .arguments import JSON, RUN

if TYPE_CHECKING:
    from ..store import Coverage, Run
    from ..store.check.with_branches import Verified


@click.command()
@RUN
@JSON
def inspect(path: Path, as_json: bool) -> None:
    """Say what a run directory holds and how far it is; works while it is running."""
    from ..store import coverage, open_run

    run = open_run(path)
    held = coverage(run)
    content = _content(run, held)
    if as_json:
        ids = {
            "missing_ids": [*held.pending, *held.given_up],
            "given_up_ids": held.given_up,
            "random": held.random,
        }
        click.echo(json.dumps({**content, **ids}, ensure_ascii=False))
    else:
        _say_content(content, held.note)


def _content(run: Run, held: Coverage) -> dict[str, Any]:
    """What a run holds, for people and for machines."""
    from ..runs.run_json import BRANCHES
    from ..runs.session import read_sessions, read_status
    from .branch_runs import branch_run_facts

    seconds = float(run["seconds"][...].sum()) if len(run) else 0.0
    forwards = int(run["n_forwards"][...].sum()) if len(run) else 0
    content = {
        "run": str(run.path),
        "stored": len(run),
        "asked": len(run.problems),
        **({"problems": held.problems} if held.has_several else {}),
        "missing": len(held.pending) + len(held.given_up),
        **_verdict_counts(run),
        "problem_seconds": round(seconds, 1),
        "forward_passes": forwards,
        "passes_per_problem": round(forwards / len(run), 2) if len(run) else None,
        "shard_bytes": sum(file.stat().st_size for file in (run.path / "shards").glob("*.h5")),
        "config": run.info["config"],
        **({"preset": run.info["preset"]} if "preset" in run.info else {}),
        **({"branches": run.info[BRANCHES]} if BRANCHES in run.info else {}),
        "branch_runs": branch_run_facts(run.path),
        "created_at": run.info["created_at"],
        "versions": run.info["versions"],
        "sessions": read_sessions(run.path),
    }
    status = read_status(run.path)
    if status is None:
        return content
    return {"state": status["state"], **content, "session": status}


def _verdict_counts(run: Run) -> dict[str, int]:
    """Stored problems of each verdict, correct ones first."""
    from ..store.format.verdicts import VERDICTS

    codes = run["verdict"][...].tolist() if len(run) else []
    counts: dict[str, int] = {"correct": 0}
    for name, verdict in VERDICTS.items():
        counts[name] = codes.count(verdict.code)
    return counts


def _say_content(content: dict[str, Any], note: str) -> None:
    """One line for each thing; `note` says behind each count that the run is not finished."""
    from ..store.format.verdicts import VERDICTS
    from ..store.sizes import size_text
    from .branch_runs import asked_text, branch_run_text

    lines = dict(content)
    branch_runs = lines.pop("branch_runs")
    if "branches" in lines:
        asked = lines.pop("branches")
        lines["branches of"] = f"{asked['parent']['run_id']}; {asked_text(asked)}"
    sessions = lines.pop("sessions")
    lines["shards"] = size_text(lines.pop("shard_bytes"))
    if note:
        for name in ("stored", *VERDICTS):
            lines[name] = f"{lines[name]}  ({note})"
    for name, value in lines.items():
        click.echo(f"{name:20} {_flat(value)}")
    for facts in branch_runs:
        click.echo(f"{'branch run':20} {branch_run_text(facts)}")
    for session in sessions:
        click.echo(f"{'ended session':20} {_flat(session)}")


def _flat(value: Any) -> str:
    if not isinstance(value, dict):
        return str(value)
    return ", ".join(f"{name}={item}" for name, item in value.items())


@click.command()
@RUN
@click.option("--quick", is_flag=True, help="Compare sizes with the manifest only.")
@click.option(
    "--repair",
    is_flag=True,
    help="Move damaged shards aside so that the next run redoes their problems.",
)
@JSON
@click.pass_context
def verify(context: click.Context, path: Path, quick: bool, repair: bool, as_json: bool) -> None:
    """Check every byte of a run: checksums, structure, and that the numbers agree with each
    other."""
    from ..store.check.with_branches import verify_with_branches

    verified = verify_with_branches(path, quick=quick, repair=repair)
    if as_json:
        own, *branch_runs = [_report_content(each) for each in verified]
        is_ok = all(each.ok for each in verified)
        content = {**own, "ok": is_ok, "branch_runs": branch_runs}
        click.echo(json.dumps(content, ensure_ascii=False, default=str))
    else:
        for each in verified:
            _say_report(each)
    context.exit(0 if all(each.ok for each in verified) else 1)


def _report_content(verified: Verified) -> dict[str, Any]:
    """What was found of one run, for machines; `fault` alone where it could not be looked at."""
    report = verified.report
    if report is None:
        return {"run": verified.path, "fault": verified.fault, "ok": False}
    findings = [finding._asdict() for finding in report.findings]
    return {
        "run": verified.path,
        **report._asdict(),
        "findings": findings,
        "ok": verified.ok,
    }


def _say_report(verified: Verified) -> None:
    """What was found of one run, and a line of what it comes to."""
    report = verified.report
    if report is None:
        click.echo(f"{verified.path}: DAMAGED; {verified.fault}")
        return
    for finding in report.findings:
        click.echo(f"{finding.severity}: {finding.shard}: {finding.what}")
    state = "whole" if report.ok else "DAMAGED"
    done = f"{report.n_problems} of {count_text(report.expected, report.unit)}"
    click.echo(f"{verified.path}: {state}; {count_text(report.n_shards, 'shard')}, {done}")
