"""`diffengine run`: from options to `runner.run`. Imports torch only once the options are known to be sane."""

from __future__ import annotations

import json
import signal
import sys
from pathlib import Path
from typing import Any

import click

SAMPLER = [
    click.option("--steps", type=int, help="Denoising steps.  [default: the checkpoint's own, else 128]"),
    click.option("--gen-length", type=int, help="Generated tokens.  [default: the checkpoint's own, else 128]"),
    click.option("--block-length", type=int, help="Block length.  [default: the checkpoint's own, else one block]"),
    click.option("--temperature", type=float, help="Gumbel noise temperature; 0 is greedy.  [default: 0]"),
    click.option("--cfg-scale", type=float, help="Classifier-free guidance.  [default: 0]"),
    click.option(
        "--remasking", type=click.Choice(["low_confidence", "random"]), help="Commit rule.  [default: low_confidence]"
    ),
    click.option("--logits-eos-inf", is_flag=True, default=None, help="Never predict <|endoftext|>."),
    click.option("--confidence-eos-eot-inf", is_flag=True, default=None, help="Commit <|endoftext|>, <|eot_id|> last."),
    click.option("--policy", help="Sampler family; see `diffengine list`.  [default: llada]"),
    click.option("--seed", type=int, help="Key of the counter-based noise.  [default: 0]"),
    click.option(
        "--numerics",
        type=click.Choice(["default", "reference"]),
        help="`reference` reproduces the published code's dtypes and tie rules.  [default: default]",
    ),
    click.option(
        "--prompt-style",
        type=click.Choice(["chat", "raw"]),
        help="Chat template, or question + ' Answer:'.  [default: chat]",
    ),
]
RECORDING = [
    click.option(
        "--record", type=click.Choice(["all", "masked"]), help="Positions whose statistics are kept.  [default: all]"
    ),
    click.option(
        "--save-logits",
        type=click.Choice(["none", "topk", "hidden", "full"]),
        help="`hidden` is lossless and 31 times smaller than `full` for LLaDA-8B.  [default: topk]",
    ),
    click.option("--topk", type=int, help="Logits kept per position with --save-logits topk.  [default: 16]"),
    click.option(
        "--mean-hidden/--no-mean-hidden", default=None, help="Keep the mean hidden trajectory.  [default: keep]"
    ),
]


def _all(options: list[Any]) -> Any:
    def add(command: Any) -> Any:
        for option in reversed(options):
            command = option(command)
        return command

    return add


@click.command()
@click.option(
    "--problems",
    "sources",
    multiple=True,
    metavar="FILE|NAME",
    help="JSON lines or a JSON list; or `samples`, `generated:N`. May be given several times.  [default: samples]",
)
@click.option(
    "--model",
    type=click.Path(path_type=Path),
    help="Checkpoint directory.  [default: ./llada-8b, else the bundled model]",
)
@click.option(
    "--out",
    type=click.Path(path_type=Path),
    help="Run directory; the same command continues it.  [default: runs/<problems>-<settings>]",
)
@click.option("--limit", type=int, help="Only the first N problems.")
@click.option("--ids", help="Only these problem ids, comma separated.")
@click.option("--skip-bad", is_flag=True, help="Report bad lines of the problem files and go on without them.")
@click.option("--gpus", type=int, help="Number of GPUs.  [default: 1 if there is one, else the CPU]")
@click.option("--device", help="cpu, cuda or cuda:N.  [default: cuda if there is one]")
@click.option(
    "--dtype", type=click.Choice(["float32", "bfloat16"]), help="[default: bfloat16 on a GPU, float32 on a CPU]"
)
@click.option(
    "--token-budget", type=click.IntRange(1), help="Packed tokens per forward pass.  [default: 16384 GPU, 2048 CPU]"
)
@click.option(
    "--refill/--no-refill", default=True, help="Let waiting problems enter as soon as others finish.", show_default=True
)
@_all(SAMPLER)
@_all(RECORDING)
@click.option("--json", "as_json", is_flag=True, help="End with one JSON object on stdout.")
@click.pass_context
def run(context: click.Context, /, **options: Any) -> None:
    """Decode problems and record how the answer emerges. The same command resumes."""
    from ..problems import read_problems

    as_json = options.pop("as_json")
    options["device"] = _device(options["device"], options.pop("gpus"))

    ids = options.pop("ids")
    problems = read_problems(
        list(options.pop("sources")) or ["samples"],
        skip_bad=options.pop("skip_bad"),
        limit=options.pop("limit"),
        ids=[i.strip() for i in ids.split(",") if i.strip()] if ids is not None else None,
    )
    for bad in problems.skipped:
        click.echo(f"skipped {bad}", err=True)
    result = _run(problems, options, as_json=as_json)
    _say_result(result, as_json=as_json)
    context.exit(3 if result.failed else 0)


def _run(problems: Any, options: dict[str, Any], *, as_json: bool) -> Any:
    from ..console import ProgressPrinter
    from ..runner import Execution, default_model
    from ..runner import run as run_problems

    model = options.pop("model") or default_model()
    what = f"{len(problems.problems)} problems from {problems.source}"
    click.echo(f"model {_called(model)}; {what}", err=as_json)
    execution = Execution(
        device=options.pop("device"), token_budget=options.pop("token_budget"), refill=options.pop("refill")
    )
    # A polite kill ends as Ctrl-C does: what is finished is published, and the same command goes on.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    with ProgressPrinter() as progress:
        return run_problems(problems, model=model, execution=execution, on_progress=progress, **options)


def _called(model: Path) -> str:
    from ..runner import BUNDLED

    return (
        "bundled (the small model that comes with diffengine: there is no ./llada-8b here)"
        if model == BUNDLED
        else str(model)
    )


def _device(device: str | None, gpus: int | None) -> str | None:
    if device is None and gpus is None:
        return None
    import torch

    found = torch.cuda.device_count()
    if device is not None:
        kind, _, number = device.partition(":")
        if kind not in ("cpu", "cuda") or not (number == "" or number.isdigit()):
            raise click.UsageError(f"--device {device}: use cpu, cuda or cuda:N")
        if kind == "cuda" and int(number or 0) >= found:
            raise click.UsageError(f"--device {device}: this machine has {found} usable GPU{'s' * (found != 1)}")
    if gpus is None:
        return device
    if gpus > found:
        instead = f"--gpus {found}" if found else "no --gpus (the CPU is used then)"
        raise click.UsageError(
            f"--gpus {gpus}: this machine has {found} usable GPU{'s' * (found != 1)}; type {instead}"
        )
    if gpus > 1:
        raise click.UsageError(f"--gpus {gpus}: this version decodes on one device; {found} were found; type --gpus 1")
    if gpus < 0:
        raise click.UsageError(f"--gpus {gpus}: must not be negative")
    return "cpu" if gpus == 0 else device or "cuda"


def _say_result(result: Any, *, as_json: bool) -> None:
    if as_json:
        fields = {"run": str(result.path), "done": result.done, "resumed": result.resumed, "failed": result.failed}
        sys.stdout.write(json.dumps(fields, ensure_ascii=False) + "\n")
        return
    before = f" ({result.resumed} from before)" if result.resumed else ""
    click.echo(f"{result.done + result.resumed} problems finished{before} in {result.path}")
    for problem_id, reason in list(result.failed.items())[:10]:
        click.echo(f"failed {problem_id}: {reason}", err=True)
    if result.failed:
        click.echo(
            f"{len(result.failed)} problems failed; their reasons are in {result.path / 'failed.jsonl'}", err=True
        )
    click.echo(f"next: diffengine analyze {result.path}")
