"""`diffengine sweep`: a grid of runs in one command, and the table of what each gains and how far
it strays."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from types import TracebackType
from typing import TYPE_CHECKING, Any

import click

from ..config import RunConfig
from ..options import options_of
from ..store.counts import count_text
from .options import names_of_policies, typed_values
from .run import (
    asked_text,
    device_of,
    execution_of,
    model_text,
    policy_of,
    problems_of,
    warn_and_end_politely,
)
from .run_options import sweep_options
from .several_values import SeveralValues

if TYPE_CHECKING:
    from ..runs.estimate import Estimate
    from ..runs.sweep import SweepPlan, SweepProgress, SweepResult
    from .progress import ProgressPrinter


@click.command(cls=SeveralValues)
@sweep_options
@click.option(
    "--exact/--no-exact",
    default=True,
    help="Also the run with one token a step that the others are measured from.  [default: exact]",
)
@click.option("--dry-run", is_flag=True, help="Only say which runs there are and what they need.")
@click.option("--json", "as_json", is_flag=True, help="End with one JSON object on stdout.")
@click.pass_context
def sweep(context: click.Context, /, **options: Any) -> None:
    """Make a run of every combination of values, then compare them. The same command resumes.

    Options of the policy, and --policy itself, take several values: --threshold .6 .7 .8, or
    --threshold .6 --threshold .7. Each policy takes those options that it has. The table of speed,
    accuracy and straying is printed at the end; comparison.csv and tradeoff.png lie beside the
    runs.
    """
    as_json = options.pop("as_json")
    dry_run = options.pop("dry_run")
    plan = _plan(options)
    if dry_run:
        return _say_estimates(plan, as_json=as_json)

    from ..runs.sweep import run_sweep

    what = asked_text(plan.problems, plan.samples)
    click.echo(
        f"model {model_text(plan.model.path)}; {what}; {count_text(len(plan.runs), 'run')} in "
        f"{plan.out}",
        err=as_json,
    )
    warn_and_end_politely()
    with _Printer() as printer:
        result = run_sweep(plan, printer)
    _say_table(plan, as_json=as_json)
    _say_result(result, as_json=as_json)
    context.exit(3 if result.failed else 0)


def _plan(options: Mapping[str, Any]) -> SweepPlan:
    """The sweep that the options ask for; raises click.UsageError and as `plan_sweep`."""
    device = device_of(options)
    policies = list(options["policy"])
    preset = options["preset"]
    if not policies:
        policies = [policy_of({**options, "policy": None})]
    settings = _values(options, policies)
    _refuse_early(policies, settings, preset)
    problems = problems_of(options)

    from ..runs.plan import Request, default_model
    from ..runs.sweep import plan_sweep

    execution = execution_of(options, device)
    request = Request(
        problems,
        out=options["out"],
        model=options["model"] or default_model(),
        execution=execution,
        settings=settings,
        preset=preset,
        weights=not execution.distributed,
        samples=options["samples"],
    )
    return plan_sweep(request, policies, exact=options["exact"])


def _refuse_early(policies: list[str], settings: Mapping[str, Any], preset: str | None) -> None:
    """Raise what can be said before problems and model are read."""
    from ..runs.grid import grid_runs, on_preset

    if preset is not None:
        policies, settings = on_preset(preset, policies, settings)
    grid_runs(policies, settings)


def _values(options: Mapping[str, Any], policies: Sequence[str]) -> dict[str, Any]:
    """The settings that were given; a list where an option has several values."""
    settings: dict[str, Any] = {}
    for name in (*options_of(RunConfig), *names_of_policies()):
        value = options[name]
        if name == "policy" or value is None or value == ():
            continue
        settings[name] = _single(list(value)) if isinstance(value, tuple) else value

    for name, values in typed_values(options["texts"], policies).items():
        if name in settings:
            plain = name.replace("_", "-")
            raise click.UsageError(f"--{plain} and --option {name}: give one of them")
        settings[name] = _single(values)
    return settings


def _single(values: list[Any]) -> Any:
    return values[0] if len(values) == 1 else values


class _Printer:
    """Names each run as it begins, and shows how far it is; a context manager."""

    def __init__(self) -> None:
        self._name = ""
        self._progress: ProgressPrinter | None = None

    def __enter__(self) -> _Printer:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._progress is not None:
            self._progress.__exit__()

    def __call__(self, progress: SweepProgress) -> None:
        from .progress import ProgressPrinter

        if progress.name != self._name or self._progress is None:
            self.__exit__(None, None, None)
            click.echo(f"run {progress.number} of {progress.runs}: {progress.name}", err=True)
            self._name = progress.name
            self._progress = ProgressPrinter()
        self._progress(progress.progress)


def _say_table(plan: SweepPlan, *, as_json: bool) -> None:
    """The comparison of all runs that the directory holds, of earlier commands too; on stderr where
    stdout is for JSON."""
    from ...analysis.compare.side_by_side import write_comparison
    from ...analysis.compare.tradeoff import tradeoff_lines
    from ..runs.sweep_json import is_run
    from .tradeoff import say_tradeoff

    records = [run for run in plan.content["runs"] if is_run(plan.out / run["name"])]
    names = [record["name"] for record in records]
    references = [names.index(record["reference"]) for record in records]
    paths = [plan.out / name for name in names]
    compared = say_tradeoff(paths, plan.out, references=references, on_stderr=as_json)
    more = tradeoff_lines(*compared, with_accuracy=True)
    table = write_comparison([], plan.out / "comparison.csv", more=more)
    click.echo(f"comparison: {table}", err=as_json)


def _say_estimates(plan: SweepPlan, *, as_json: bool) -> None:
    from ...analysis.compare.columns import aligned
    from ..runs.sweep import estimate_sweep
    from ..store.sizes import size_text
    from .progress import bounded, duration, time_text

    needs = estimate_sweep(plan)
    if as_json:
        click.echo(json.dumps(_estimates_json(plan, needs)))
        return
    table = [["run", "measured from", "disk", "time"]]
    for run in plan.runs:
        need = needs[run.name]
        disk_text = bounded(size_text(need.disk_bytes), at_most=need.disk_at_most)
        table.append([run.name, run.reference, disk_text, time_text(need)])
    click.echo(f"{count_text(len(plan.runs), 'run')} in {plan.out}")
    click.echo("\n".join(aligned(table)))
    whole = sum(need.total_seconds or 0.0 for need in needs.values())
    disk = sum(need.disk_bytes for need in needs.values())
    free = next(iter(needs.values())).free_disk
    disk_at_most = any(need.disk_at_most for need in needs.values())
    seconds_at_most = any(need.seconds_at_most for need in needs.values())
    disk_text = bounded(size_text(disk), at_most=disk_at_most)
    whole_text = bounded(duration(whole), at_most=seconds_at_most)
    click.echo(f"all: disk {disk_text}, {size_text(free)} free; time {whole_text}")


def _estimates_json(plan: SweepPlan, needs: Mapping[str, Estimate]) -> dict[str, Any]:
    runs = []
    for run in plan.runs:
        need = needs[run.name]
        runs.append(
            {
                "name": run.name,
                "reference": run.reference,
                "settings": run.plan.config.as_dict(),
                "disk_bytes": need.disk_bytes,
                "total_seconds": need.total_seconds,
                "disk_at_most": need.disk_at_most,
                "seconds_at_most": need.seconds_at_most,
            }
        )
    return {"sweep": str(plan.out), "runs": runs}


def _say_result(result: SweepResult, *, as_json: bool) -> None:
    if as_json:
        runs = []
        for swept in result.runs:
            done = swept.result
            runs.append(
                {
                    "name": swept.name,
                    "reference": swept.reference,
                    "run": str(done.path),
                    "done": done.done,
                    "resumed": done.resumed,
                    "failed": done.failed,
                }
            )
        click.echo(json.dumps({"sweep": str(result.path), "runs": runs}, ensure_ascii=False))
        return
    click.echo(f"{count_text(len(result.runs), 'run')} finished in {result.path}")
    if result.failed:
        click.echo(
            f"{count_text(result.failed, 'problem')} failed; the reasons are in each run's "
            "failed.jsonl",
            err=True,
        )
    click.echo(f"next: diffengine analyze {result.path}")
