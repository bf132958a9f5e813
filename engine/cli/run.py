"""`diffengine run`: from options to `runner.run`. Imports torch only once the options are known to
be sane."""

from __future__ import annotations

import json
import logging
import signal
import sys
from pathlib import Path
from typing import Any

import click

WHAT = [
    click.option(
        "--problems",
        "sources",
        multiple=True,
        metavar="FILE|NAME",
        help="JSON lines, a JSON list, CSV, TSV, parquet, also compressed; `-`; or `samples`, "
        "`generated:N`. May be "
        "given several times.  [default: samples]",
    ),
    click.option(
        "--model",
        type=click.Path(path_type=Path),
        help="Checkpoint directory.  [default: ./llada-8b, else the bundled model]",
    ),
    click.option(
        "--out",
        type=click.Path(path_type=Path),
        help="Run directory; the same command continues it.  [default: runs/<problems>-<settings>]",
    ),
    click.option("--limit", type=int, help="Only the first N problems."),
    click.option("--ids", help="Only these problem ids, comma separated."),
    click.option(
        "--skip-bad",
        is_flag=True,
        help="Report bad lines of the problem files and go on without them.",
    ),
]
HOW = [
    click.option(
        "--gpus", type=int, help="Number of GPUs.  [default: 1 if there is one, else the CPU]"
    ),
    click.option(
        "--workers",
        type=click.IntRange(1),
        help="Worker processes, on the CPU unless --gpus.  [default: 1]",
    ),
    click.option(
        "--cluster",
        metavar="ADDRESS",
        help="Use this Ray cluster (`auto`: the one here), not this machine.",
    ),
    click.option("--device", help="cpu, cuda or cuda:N.  [default: cuda if there is one]"),
    click.option(
        "--dtype",
        type=click.Choice(["float32", "bfloat16"]),
        help="[default: bfloat16 on a GPU, float32 on a CPU]",
    ),
    click.option(
        "--logits-dtype",
        type=click.Choice(["model", "float32", "bfloat16"]),
        help="Logits of which the statistics are taken; `float32` for exact KL of a bfloat16 "
        "model.  [default: model]",
    ),
    click.option(
        "--token-budget",
        type=click.IntRange(1),
        help="Packed tokens per forward pass.  [default: 2048 CPU; 16384 GPU, fewer where memory "
        "is short]",
    ),
    click.option(
        "--refill/--no-refill",
        default=True,
        help="Let waiting problems enter as soon as others finish.",
        show_default=True,
    ),
    click.option(
        "--compile",
        "compile_",
        is_flag=True,
        help="Compile the network for a few padded shapes first.",
    ),
    click.option(
        "--fused",
        is_flag=True,
        help="Norm, rotation, activation by own kernels; no GPU has run them yet.",
    ),
]
SAMPLER = [
    click.option(
        "--steps", type=int, help="Denoising steps.  [default: the checkpoint's own, else 128]"
    ),
    click.option(
        "--gen-length",
        type=int,
        help="Generated tokens.  [default: the checkpoint's own, else 128]",
    ),
    click.option(
        "--block-length",
        type=int,
        help="Block length.  [default: the checkpoint's own, else one block]",
    ),
    click.option(
        "--temperature", type=float, help="Gumbel noise temperature; 0 is greedy.  [default: 0]"
    ),
    click.option("--cfg-scale", type=float, help="Classifier-free guidance.  [default: 0]"),
    click.option(
        "--remasking",
        type=click.Choice(["low_confidence", "random"]),
        help="Commit rule.  [default: low_confidence]",
    ),
    click.option(
        "--logits-eos-inf", is_flag=True, default=None, help="Never predict <|endoftext|>."
    ),
    click.option(
        "--confidence-eos-eot-inf",
        is_flag=True,
        default=None,
        help="Commit <|endoftext|>, <|eot_id|> last.",
    ),
    click.option("--policy", help="Sampler family; see `diffengine list`.  [default: llada]"),
    click.option("--seed", type=int, help="Key of the counter-based noise.  [default: 0]"),
    click.option(
        "--numerics",
        type=click.Choice(["default", "reference"]),
        help="`reference` reproduces the published code's dtypes and tie rules.  [default: "
        "default]",
    ),
    click.option(
        "--prompt-style",
        type=click.Choice(["chat", "raw"]),
        help="Chat template, or question + ' Answer:'.  [default: chat]",
    ),
]
RECORDING = [
    click.option(
        "--record",
        type=click.Choice(["all", "masked"]),
        help="Positions whose statistics are kept.  [default: all]",
    ),
    click.option(
        "--save-logits",
        type=click.Choice(["none", "topk", "hidden", "full"]),
        help="`hidden` is lossless and 31 times smaller than `full` for LLaDA-8B.  [default: topk]",
    ),
    click.option(
        "--topk", type=int, help="Logits kept per position with --save-logits topk.  [default: 16]"
    ),
    click.option(
        "--mean-hidden/--no-mean-hidden",
        default=None,
        help="Keep the mean hidden trajectory.  [default: keep]",
    ),
]


def _run_options(command: Any) -> Any:
    for option in reversed([*WHAT, *HOW, *SAMPLER, *RECORDING]):
        command = option(command)
    return command


@click.command()
@_run_options
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
    problems, model, execution, settings = _asked(options)
    if dry_run:
        return _say_estimate(problems, model, execution, settings, as_json=as_json)
    from ..runs.run import run as run_problems
    from .progress import ProgressPrinter

    what = f"{len(problems.problems)} problems from {problems.source}"
    click.echo(f"model {_called(model)}; {what}", err=as_json)
    on_stderr = logging.StreamHandler()
    on_stderr.setLevel(logging.WARNING)  # the run's logs/ have more
    logging.basicConfig(format="%(message)s", handlers=[on_stderr])
    # A polite kill ends as Ctrl-C does: what is finished is published, and the same command goes
    # on.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    with ProgressPrinter() as progress:
        result = run_problems(
            problems, model=model, execution=execution, on_progress=progress, **settings
        )
    _say_result(result, as_json=as_json)
    context.exit(3 if result.failed else 0)


@click.command()
@_run_options
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
def estimate(**options: Any) -> None:
    """Say what a run would need: disk, memory and time, factor by factor. Takes the options of
    `run`."""
    as_json = options.pop("as_json")
    _say_estimate(*_asked(options), as_json=as_json)


def _asked(options: dict[str, Any]) -> tuple[Any, Path, Any, dict[str, Any]]:
    """Problems, model, execution and settings that the options ask for."""
    from ..problems.read import read_problems

    gpus = options.pop("gpus")
    workers = options.pop("workers")
    cluster = options.pop("cluster")
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
    device = _device(options.pop("device"), gpus, elsewhere=cluster is not None)
    device = (
        "cpu" if device is None and workers is not None and (workers > 1 or cluster) else device
    )
    ids = options.pop("ids")
    problems = read_problems(
        list(options.pop("sources")) or ["samples"],
        skip_bad=options.pop("skip_bad"),
        limit=options.pop("limit"),
        ids=[i.strip() for i in ids.split(",") if i.strip()] if ids is not None else None,
    )
    for bad in problems.skipped:
        click.echo(f"skipped {bad}", err=True)
    from ..runs.run import Execution, default_model

    execution = Execution(
        device=device,
        workers=workers or max(gpus or 1, 1),
        cluster=cluster,
        token_budget=options.pop("token_budget"),
        refill=options.pop("refill"),
        compile=options.pop("compile_"),
        fused=options.pop("fused"),
    )
    return problems, options.pop("model") or default_model(), execution, options


def _say_estimate(
    problems: Any, model: Path, execution: Any, settings: dict[str, Any], *, as_json: bool
) -> None:
    from ..runs.estimate import refuse_short_disk
    from ..runs.run import estimate_run
    from .progress import estimate_lines

    need = estimate_run(problems, model=model, execution=execution, **settings)
    if as_json:
        parts = {
            kind: [f._asdict() for f in getattr(need, kind)]
            for kind in ("disk", "device_memory", "seconds")
        }
        total = {
            "disk_bytes": need.disk_bytes,
            "free_disk": need.free_disk,
            "total_seconds": need.total_seconds,
        }
        click.echo(json.dumps({**parts, **total}))
    else:
        click.echo("\n".join(estimate_lines(need)))
    refuse_short_disk(need.disk, free=need.free_disk, out=need.out)


def _called(model: Path) -> str:
    from ..runs.run import BUNDLED

    return (
        "bundled (the small model that comes with diffengine: there is no ./llada-8b here)"
        if model == BUNDLED
        else str(model)
    )


def _device(device: str | None, gpus: int | None, *, elsewhere: bool) -> str | None:
    if device is None and gpus is None:
        return None
    if elsewhere and gpus:
        return "cuda"
    import torch

    found = torch.cuda.device_count()
    if device is not None:
        kind, _, number = device.partition(":")
        if kind not in ("cpu", "cuda") or not (number == "" or number.isdigit()):
            raise click.UsageError(f"--device {device}: use cpu, cuda or cuda:N")
        if kind == "cuda" and int(number or 0) >= found:
            raise click.UsageError(
                f"--device {device}: this machine has {found} usable GPU{'s' * (found != 1)}"
            )
    if gpus is None:
        return device
    if gpus > found:
        instead = f"--gpus {found}" if found else "no --gpus (the CPU is used then)"
        raise click.UsageError(
            f"--gpus {gpus}: this machine has {found} usable GPU{'s' * (found != 1)}; type "
            f"{instead}"
        )
    if gpus < 0:
        raise click.UsageError(f"--gpus {gpus}: must not be negative")
    return "cpu" if gpus == 0 else device or "cuda"


def _say_result(result: Any, *, as_json: bool) -> None:
    if as_json:
        fields = {
            "run": str(result.path),
            "done": result.done,
            "resumed": result.resumed,
            "failed": result.failed,
        }
        sys.stdout.write(json.dumps(fields, ensure_ascii=False) + "\n")
        return
    before = f" ({result.resumed} from before)" if result.resumed else ""
    click.echo(f"{result.done + result.resumed} problems finished{before} in {result.path}")
    for problem_id, reason in list(result.failed.items())[:10]:
        click.echo(f"failed {problem_id}: {reason}", err=True)
    if result.failed:
        click.echo(
            f"{len(result.failed)} problems failed; their reasons are in "
            f"{result.path / 'failed.jsonl'}",
            err=True,
        )
    click.echo(f"next: diffengine analyze {result.path}")
