"""`diffengine branch`: from options to `branch`, and what it will cost before it starts."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from ..options import ConfigError
from ..store.counts import count_text
from .run_options import branch_options

if TYPE_CHECKING:
    from ..branching.plan import BranchPlan
    from ..runs.run import RunResult

ALL_STEPS = "all"


@click.command()
@click.argument("run", type=click.Path(path_type=Path, exists=True, file_okay=False))
@click.option(
    "--at",
    metavar="T,T,...",
    help="Steps whose canvas a branch begins with, or `all`; 0 is the canvas of masks.  [default: "
    "8, evenly]",
)
@click.option(
    "--samples", type=int, metavar="R", help="Branches of each state.  [default: 16; 1 with --do]"
)
@click.option(
    "--do",
    "actions",
    multiple=True,
    metavar="ACTION",
    help="What is done to a state first: `remask answer`, `set 3:7 TEXT`, ... (docs/analysis.md); "
    "each --do is an intervention of its own, beside branches where nothing is done.",
)
@click.option(
    "--noise",
    type=click.Choice(["fresh", "parent"]),
    help="Noise of its own for each branch, or that of the parent.  [default: fresh; parent with "
    "--samples 1]",
)
@click.option(
    "--temperature",
    type=float,
    help="Of the branches.  [default: the parent's; 1 where noise is fresh and that is 0]",
)
@click.option("--seed", type=int, help="Of the noise.  [default: the parent's]")
@click.option(
    "--record",
    type=click.Choice(["answers", "masked", "all"]),
    default="answers",
    show_default=True,
    help="How each branch ends, or its trajectory too.",
)
@click.option("--limit", type=int, help="Only the first N decodings of the run.")
@click.option("--ids", help="Only these problem ids, comma separated.")
@click.option(
    "--model",
    type=click.Path(path_type=Path),
    help="Where the run's checkpoint lies now.  [default: where it lay]",
)
@branch_options
@click.option("--dry-run", is_flag=True, help="Only say what it would cost.")
@click.option("--json", "as_json", is_flag=True, help="End with one JSON object on stdout.")
@click.pass_context
def branch(context: click.Context, /, **options: Any) -> None:
    """Go on from the stored states of RUN, many times or after an intervention. The same command
    resumes."""
    from .progress import ProgressPrinter
    from .run import device_of, execution_of, warn_and_end_politely

    as_json = options["as_json"]
    device = device_of(options)
    execution = execution_of(options, device)
    asked = {
        "at": _steps(options["at"], options["run"]),
        "samples": options["samples"],
        "do": options["actions"],
        "noise": options["noise"],
        "ids": _ids(options["ids"]),
        "limit": options["limit"],
        "record": options["record"],
        "model": options["model"],
        "execution": execution,
    }
    settings = {n: options[n] for n in ("temperature", "seed") if options[n] is not None}
    if options["dry_run"]:
        return _say_cost_alone(options["run"], asked, settings, as_json=as_json)

    from ..branching.branch import branch as branch_run

    warn_and_end_politely()
    with ProgressPrinter() as progress:
        result = branch_run(
            options["run"],
            **asked,
            **settings,
            on_plan=lambda planned: _say_cost(planned, as_json=as_json),
            on_progress=progress,
        )
    _say_result(result, options["run"], as_json=as_json)
    context.exit(3 if result.failed else 0)


def _ids(text: str | None) -> list[str] | None:
    if text is None:
        return None
    return [name.strip() for name in text.split(",") if name.strip()]


def _steps(text: str | None, run: Path) -> Sequence[int] | None:
    """The steps that were typed. Raises ConfigError for what is no list of them, and as reading
    run.json does."""
    if text is None:
        return None
    if text.strip() == ALL_STEPS:
        from ..store.read.run import read_info

        return range(int(read_info(run)["config"]["steps"]))
    try:
        return [int(part) for part in text.split(",")]
    except ValueError:
        raise ConfigError(
            f"--at {text!r}: expected steps with commas between them, such as 0,8,16, or `all`"
        ) from None


def _say_cost(planned: BranchPlan, *, as_json: bool) -> None:
    """What will be decoded and what it takes, before it starts; on stderr where stdout is for
    JSON."""
    from ..branching.branch import seconds_of

    for line in cost_lines(planned, seconds_of(planned)):
        click.echo(line, err=as_json)


def _say_cost_alone(
    run: Path, asked: dict[str, Any], settings: dict[str, Any], *, as_json: bool
) -> None:
    from ..branching.branch import BranchRequest, plan_branches, seconds_of

    planned = plan_branches(BranchRequest(run, settings=settings, **asked))
    seconds = seconds_of(planned)
    if as_json:
        cost = {**planned.cost._asdict(), "seconds": seconds, "at": planned.at}
        click.echo(json.dumps({"run": str(planned.plan.out), **cost}))
        return
    for line in cost_lines(planned, seconds):
        click.echo(line)


def cost_lines(planned: BranchPlan, seconds: float | None) -> list[str]:
    """What a plan comes to: states, branches, forward passes, time."""
    from .progress import duration

    cost = planned.cost
    config = planned.plan.config
    grid = ", ".join(str(step) for step in planned.at)
    temperature = getattr(config.sampler, "temperature", 0)
    lines = [
        f"branches at {count_text(len(planned.at), 'step')} ({grid}) of "
        f"{count_text(cost.decodings, 'decoding')}, {planned.samples} of each state; "
        f"temperature {temperature:g}, noise {planned.noise}"
    ]
    if cost.settled:
        settled = count_text(cost.settled, "state")
        lines.append(f"nothing to decode at {settled}: final already")
    if cost.there:
        lines.append(f"{count_text(f'{cost.there:,}', 'branch')} from before")
    if not cost.branches:
        return [*lines, "nothing to decode"]
    forwards = count_text(f"{cost.forwards:,}", "forward pass", "forward passes")
    about = "about " if cost.as_parent else ""
    time = "" if seconds is None else f", {duration(seconds)} on this device by timed steps"
    lines.append(
        f"cost: {count_text(f'{cost.branches:,}', 'branch')}, {about}{forwards}, "
        f"{cost.times_parent:.1f} times the parent's{time}"
    )
    return lines


def _say_result(result: RunResult, run: Path, *, as_json: bool) -> None:
    if as_json:
        fields = {"run": str(result.path), "done": result.done, "resumed": result.resumed}
        click.echo(json.dumps({**fields, "failed": result.failed}, ensure_ascii=False))
        return
    before = f" ({result.resumed} from before)" if result.resumed else ""
    click.echo(f"{result.finished} finished{before} in {result.path}")
    if result.failed:
        failed = count_text(len(result.failed), result.unit)
        click.echo(f"{failed} failed; the reasons are in {result.path / 'failed.jsonl'}")
    click.echo(f"next: diffengine analyze {run}")
