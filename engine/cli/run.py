"""`diffengine run`: from options to `run`. Imports torch only once the options are known to be
sane."""

from __future__ import annotations

import json
import logging
import signal
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import click

from ..config import RunConfig
from ..options import options_of
from ..presets import with_preset
from ..store.counts import count_text
from .options import names_of_policies, typed_options
from .run_options import run_options

if TYPE_CHECKING:
    from ..problems.read import ProblemSet
    from ..runs.execution import Execution
    from ..runs.run import RunResult


@click.command()
@run_options
@click.option(
    "--dry-run",
    is_flag=True,
    help="Only say what the run needs; the same as `diffengine estimate`.",
)
@click.option("--json", "as_json", is_flag=True, help="End with one JSON object on stdout.")
@click.pass_context
def run(context: click.Context, /, **options: Any) -> None:
    """Decode problems and record how the answer emerges. The same command resumes."""
    as_json = options.pop("as_json")
    dry_run = options.pop("dry_run")
    asked = _asked(options)
    if dry_run:
        return _say_estimate(asked, as_json=as_json)

    from ..runs.run import run as run_problems
    from .progress import ProgressPrinter

    what = asked_text(asked.problems, asked.samples)
    policy = asked.settings["policy"]
    click.echo(f"model {model_text(asked.model)}; policy {policy}; {what}", err=as_json)
    warn_and_end_politely()
    with ProgressPrinter() as progress:
        result = run_problems(
            asked.problems,
            model=asked.model,
            execution=asked.execution,
            on_progress=progress,
            preset=asked.preset,
            samples=asked.samples,
            **asked.settings,
        )
    _say_result(result, as_json=as_json)
    context.exit(3 if result.failed else 0)


def warn_and_end_politely() -> None:
    """Warnings go to stderr; and a polite kill ends as Ctrl-C does: what is finished is published,
    and the same command goes on."""
    on_stderr = logging.StreamHandler()
    on_stderr.setLevel(logging.WARNING)  # the run's logs/ have more
    logging.basicConfig(format="%(message)s", handlers=[on_stderr])
    signal.signal(signal.SIGTERM, signal.default_int_handler)


@click.command()
@run_options
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
def estimate(**options: Any) -> None:
    """Say what a run would need: disk, memory and time, factor by factor. Takes the options of
    `run`."""
    as_json = options.pop("as_json")
    _say_estimate(_asked(options), as_json=as_json)


class Asked(NamedTuple):
    """What the options ask for."""

    problems: ProblemSet
    model: Path
    execution: Execution
    preset: str | None
    settings: dict[str, Any]
    samples: int


def _asked(options: dict[str, Any]) -> Asked:
    """Problems, model, execution and settings of the options; raises click.UsageError, ConfigError
    and what reading the problems raises."""
    device = device_of(options)
    settings = _settings(options)
    problems = problems_of(options)

    from ..runs.plan import default_model

    settings["policy"] = policy_of(options)
    execution = execution_of(options, device)
    model = options["model"] or default_model()
    preset = options["preset"]
    return Asked(problems, model, execution, preset, settings, options["samples"])


def asked_text(problems: ProblemSet, samples: int) -> str:
    """How many problems are decoded, from where, how often."""
    text = f"{count_text(len(problems.problems), 'problem')} from {problems.source}"
    return f"{text}, {count_text(samples, 'sample')} each" if samples > 1 else text


def problems_of(options: Mapping[str, Any]) -> ProblemSet:
    """The problems that are asked for; says which lines were skipped. Raises ProblemError."""
    from ..problems.read import read_problems

    ids = options["ids"]
    problems = read_problems(
        list(options["sources"]) or ["samples"],
        skip_bad=options["skip_bad"],
        limit=options["limit"],
        ids=[i.strip() for i in ids.split(",") if i.strip()] if ids is not None else None,
    )
    for bad in problems.skipped:
        click.echo(f"skipped {bad}", err=True)
    return problems


def execution_of(options: Mapping[str, Any], device: str | None) -> Execution:
    """On what and in which portions the options want to decode. Raises ConfigError."""
    from ..runs.execution import Execution

    return Execution(
        device=device,
        workers=options["workers"] or max(options["gpus"] or 1, 1),
        cluster=options["cluster"],
        token_budget=options["token_budget"],
        refill=options["refill"],
        cache=options["cache"],
        compile=options["compile_"],
        fused=options["fused"],
    )


def _settings(options: Mapping[str, Any]) -> dict[str, Any]:
    """Settings of the run and of its policy that were given; raises ConfigError for `--option` that
    cannot be."""
    names = [*options_of(RunConfig), *names_of_policies(), "out"]
    settings = {name: options[name] for name in names if options[name] is not None}
    typed = typed_options(options["texts"], policy_of(options)) if options["texts"] else {}
    twice = [name for name in typed if name in settings]
    if twice:
        plain = twice[0].replace("_", "-")
        raise click.UsageError(f"--{plain} and --option {twice[0]}: give one of them")
    return settings | typed


def policy_of(options: Mapping[str, Any]) -> str:
    """The policy that is asked for, else the preset's, else the one that the model's family is
    published with. Raises ConfigError where the first two differ."""
    if options["preset"] is not None:
        settings = with_preset(options["preset"], {"policy": options["policy"]})
        return str(settings["policy"])
    if options["policy"] is not None:
        return str(options["policy"])
    from ..models.loading import published_policy
    from ..runs.plan import checkpoint_path

    return published_policy(checkpoint_path(options["model"]))


def device_of(options: Mapping[str, Any]) -> str | None:
    """The device that is asked for, None for the best there is; raises click.UsageError."""
    gpus = options["gpus"]
    workers = options["workers"]
    cluster = options["cluster"]
    if gpus is not None and workers is not None:
        raise click.UsageError(
            f"--gpus {gpus} and --workers {workers}: give one; --gpus N is one worker on each GPU"
        )
    if cluster is not None and not gpus and workers is None:
        raise click.UsageError(
            f"--cluster {cluster}: say how many devices: --gpus N, or --workers N for the CPU"
        )
    if (gpus or 1) > 1 and options["device"] is not None:
        raise click.UsageError(f"--gpus {gpus} and --device {options['device']}: give one of them")

    device = _device(options["device"], gpus, elsewhere=cluster is not None)
    on_cpus = workers is not None and (workers > 1 or cluster)
    return "cpu" if device is None and on_cpus else device


def _say_estimate(asked: Asked, *, as_json: bool) -> None:
    from ..runs.disk_need import needs_text, refuse_short_disk
    from ..runs.run import estimate_run
    from .progress import estimate_lines

    need = estimate_run(
        asked.problems,
        model=asked.model,
        execution=asked.execution,
        preset=asked.preset,
        samples=asked.samples,
        **asked.settings,
    )
    if as_json:
        parts = {
            kind: [f._asdict() for f in getattr(need, kind)]
            for kind in ("disk", "device_memory", "seconds")
        }
        total = {
            "disk_bytes": need.disk_bytes,
            "free_disk": need.free_disk,
            "total_seconds": need.total_seconds,
            "disk_at_most": need.disk_at_most,
            "seconds_at_most": need.seconds_at_most,
        }
        click.echo(json.dumps({**parts, **total}))
    else:
        click.echo("\n".join(estimate_lines(need)))
    needs = needs_text(at_most=need.disk_at_most)
    refuse_short_disk(need.disk, free=need.free_disk, out=need.out, needs=needs)


def model_text(model: Path) -> str:
    from ..models.bundled import BUNDLED, bundled_name

    if model == BUNDLED:
        return "bundled (the small model that comes with diffengine: there is no ./llada-8b here)"
    if bundled_name(model):
        return f"{bundled_name(model)} (a small model that comes with diffengine)"
    return str(model)


def _device(device: str | None, gpus: int | None, *, elsewhere: bool) -> str | None:
    if device is None and gpus is None:
        return None
    if elsewhere and gpus:
        return "cuda"
    import torch

    count = torch.cuda.device_count()
    there = f"this machine has {count} usable GPU{'s' * (count != 1)}"
    if device is not None:
        kind, _, number = device.partition(":")
        if kind not in ("cpu", "cuda") or not (number == "" or number.isdigit()):
            raise click.UsageError(f"--device {device}: use cpu, cuda or cuda:N")
        if kind == "cuda" and int(number or 0) >= count:
            raise click.UsageError(f"--device {device}: {there}")
    if gpus is None:
        return device
    if gpus > count:
        instead = f"--gpus {count}" if count else "no --gpus (the CPU is used then)"
        raise click.UsageError(f"--gpus {gpus}: {there}; type {instead}")
    if gpus < 0:
        raise click.UsageError(f"--gpus {gpus}: must not be negative")
    return "cpu" if gpus == 0 else device or "cuda"


def _say_result(result: RunResult, *, as_json: bool) -> None:
    if as_json:
        fields = {
            "run": str(result.path),
            "done": result.done,
            "resumed": result.resumed,
            "failed": result.failed,
            **({"problems": result.problems} if result.has_several else {}),
        }
        sys.stdout.write(json.dumps(fields, ensure_ascii=False) + "\n")
        return
    before = f" ({result.resumed} from before)" if result.resumed else ""
    click.echo(f"{result.finished} finished{before} in {result.path}")
    for problem_id, reason in list(result.failed.items())[:10]:
        click.echo(f"failed {problem_id}: {reason}", err=True)
    if result.failed:
        click.echo(
            f"{count_text(len(result.failed), result.unit)} failed; the reasons are in "
            f"{result.path / 'failed.jsonl'}",
            err=True,
        )
    click.echo(f"next: diffengine analyze {result.path}")
