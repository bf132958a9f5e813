"""`diffengine bench`: what this machine can prove, and how fast it is."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import click


@click.command()
@click.argument("part", metavar="PART")
@click.option(
    "--out", type=click.Path(path_type=Path), default=Path("bench/results"), show_default=True
)
@click.pass_context
def bench(context: click.Context, part: str, out: Path) -> None:
    """Measure on this machine; each part takes under nine minutes and writes PART.json into a
    directory.

    PART: all, or one of suite, sanitizer, aot, kernels (kernels-bfloat16, kernels-float32),
    decoding. A part for which something is lacking here says so and is no error.
    """
    from ...bench.parts import FAILED, GROUPS, PARTS, run_parts

    if part not in (*GROUPS, *PARTS):
        raise click.UsageError(f"{part} is no part; there are: {', '.join((*GROUPS, *PARTS))}")
    failed = False
    for name in GROUPS.get(part, (part,)):
        (result,) = run_parts((name,), out)
        _say(name, result)
        failed |= result["state"] == FAILED
    click.echo(f"results: {out}")
    context.exit(1 if failed else 0)


def _say(name: str, result: dict[str, Any]) -> None:
    for row in result.get("rows", []):
        click.echo(f"  {json.dumps(row)}")
    reason = ""
    if result.get("error"):
        reason += f"; {result['error']}"
    if result.get("lacks"):
        reason += f"; lacks {result['lacks']}"
    click.echo(f"{name:16} {result['state']} in {result['seconds']} s{reason}")
