"""`diffengine inspect` and `verify`: what a run holds, and whether it is sound."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import click

from .arguments import JSON, RUN


@click.command()
@RUN
@JSON
def inspect(path: Path, as_json: bool) -> None:
    """Say what a run directory holds and how far it is; works while it is running."""
    from ..runs.session import read_sessions, read_status
    from ..store import coverage, open_run
    from ..store.format.verdicts import (
        AMBIGUOUS,
        CORRECT,
        NO_ANSWER_EXTRACTED,
        NO_GOLD_ANSWER,
        WRONG,
    )
    from ..store.sizes import size_text

    run = open_run(path)
    held = coverage(run)
    verdicts = run["verdict"][...].tolist() if len(run) else []
    seconds = run["seconds"][...].sum() if len(run) else 0.0
    facts = {
        "run": str(path),
        "stored": len(run),
        "asked": len(run.problems),
        "missing": len(held.pending) + len(held.given_up),
        "correct": verdicts.count(CORRECT),
        "wrong": verdicts.count(WRONG),
        "no_answer_extracted": verdicts.count(NO_ANSWER_EXTRACTED),
        "no_gold_answer": verdicts.count(NO_GOLD_ANSWER),
        "ambiguous": verdicts.count(AMBIGUOUS),
        "problem_seconds": round(float(seconds), 1),
        "shard_bytes": sum(f.stat().st_size for f in (path / "shards").glob("*.h5")),
        "config": run.info["config"],
        "created_at": run.info["created_at"],
        "versions": run.info["versions"],
    }
    counted = ("stored", "correct", "wrong", "ambiguous", "no_answer_extracted", "no_gold_answer")
    status = read_status(path)
    facts["sessions"] = read_sessions(path)
    if status is not None:
        facts = {"state": status["state"], **facts, "session": status}
    if as_json:
        facts |= {
            "missing_ids": [*held.pending, *held.given_up],
            "given_up_ids": held.given_up,
            "random": held.random,
        }
        click.echo(json.dumps(facts, ensure_ascii=False))
        return
    if held.note:
        facts |= {name: f"{facts[name]}  ({held.note})" for name in counted}
    sessions = facts.pop("sessions")
    facts["shards"] = size_text(facts.pop("shard_bytes"))
    for name, value in facts.items():
        click.echo(f"{name:20} {_flat(value)}")
    for one in sessions:
        click.echo(f"{'ended session':20} {_flat(one)}")


def _flat(value: Any) -> str:
    return (
        ", ".join(f"{k}={v}" for k, v in value.items()) if isinstance(value, dict) else str(value)
    )


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
    from ..store import verify_run

    report = verify_run(path, quick=quick, repair=repair)
    if as_json:
        fields = {
            **report._asdict(),
            "findings": [f._asdict() for f in report.findings],
            "ok": report.ok,
        }
        click.echo(json.dumps(fields, ensure_ascii=False, default=str))
    else:
        for finding in report.findings:
            click.echo(f"{finding.severity}: {finding.shard}: {finding.what}")
        state = "whole" if report.ok else "DAMAGED"
        click.echo(
            f"{path}: {state}; {report.n_shards} shards, {report.n_problems} of {report.expected} "
            "problems"
        )
    context.exit(0 if report.ok else 1)
