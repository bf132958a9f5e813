"""The options of `diffengine run` and `diffengine estimate`, in the order of their help."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from ..config import RunConfig
from ..options import options_of
from .options import click_options, options_of_policies


def _text_of(context: click.Context, parameter: click.Parameter, value: str | None) -> str | None:
    """The text itself, or that of the file behind an @, without the end of its last line. Raises
    click.UsageError."""
    if value is None or not value.startswith("@"):
        return value
    try:
        return Path(value[1:]).read_text(encoding="utf-8").removesuffix("\n")
    except (OSError, ValueError) as error:
        raise click.UsageError(f"--prompt-template {value}: {error}") from None


OUT = click.option(
    "--out",
    type=click.Path(path_type=Path),
    help="Run directory; the same command continues it.  [default: runs/<problems>-<settings>]",
)
WHAT = [
    click.option(
        "--problems",
        "sources",
        multiple=True,
        metavar="FILE|NAME",
        help="JSON lines, a JSON list, CSV, TSV, parquet, also compressed; `-`; or `samples`, "
        "`generated:N`. May be given several times.  [default: samples]",
    ),
    click.option(
        "--model",
        type=click.Path(path_type=Path),
        help="Checkpoint directory, or one of the small models that come along: bundled, "
        "bundled-block.  [default: ./llada-8b, else bundled]",
    ),
    OUT,
    click.option("--limit", type=int, help="Only the first N problems."),
    click.option("--ids", help="Only these problem ids, comma separated."),
    click.option(
        "--samples",
        type=click.IntRange(1),
        default=1,
        show_default=True,
        help="Decode each problem N times, with a temperature above 0; more of them later go on.",
    ),
    click.option(
        "--skip-bad",
        is_flag=True,
        help="Report bad lines of the problem files and go on without them.",
    ),
]
DEVICES = [
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
]
PORTIONS = [
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
        "--cache/--no-cache",
        default=True,
        help="Keep keys and values of prompt and full blocks, which no longer change, of a model "
        "that attends block by block.",
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
HOW = [*DEVICES, *click_options(RunConfig, ["dtype", "logits_dtype"]), *PORTIONS]
RECORDING = click_options(RunConfig, ["record", "save_logits", "topk", "mean_hidden"])


def run_options(command: Any) -> Any:
    """All of them, as one decorator."""
    for option in reversed([*WHAT, *HOW, *_sampler(several=False), *RECORDING]):
        command = option(command)
    return command


def sweep_options(command: Any) -> Any:
    """The same for a sweep, where options of policies and the policy itself may have several
    values."""
    out = click.option(
        "--out",
        type=click.Path(path_type=Path),
        help="Directory of the sweep; the same command continues it.  [default: "
        "runs/sweep-<problems>-<settings>]",
    )
    what = [out if option is OUT else option for option in WHAT]
    for option in reversed([*what, *HOW, *_sampler(several=True), *RECORDING]):
        command = option(command)
    return command


def branch_options(command: Any) -> Any:
    """Where and in which portions branches are decoded; all else is the parent run's."""
    for option in reversed([*DEVICES, *PORTIONS]):
        command = option(command)
    return command


def _sampler(*, several: bool) -> list[Any]:
    """What decides the tokens, as decorators; with `several` values where a grid can have them."""
    return [
        click.option(
            "--preset",
            metavar="NAME",
            help="Settings of a published evaluation, see `diffengine list presets`; what else is "
            "given stands above it.",
        ),
        *click_options(RunConfig, ["policy"], several=several),
        *options_of_policies(several=several),
        click.option(
            "--option",
            "texts",
            multiple=True,
            metavar="NAME=VALUE",
            help="An option of the policy, such as one that has no name of its own here. May be "
            "given several times.",
        ),
        *click_options(RunConfig, ["prompt_style"]),
        click.option(
            "--prompt-template",
            metavar="TEXT|@FILE",
            callback=_text_of,
            help=options_of(RunConfig)["prompt_template"].help,
        ),
    ]
