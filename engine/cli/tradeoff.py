"""The comparison of decoders that `analyze` of several runs and `sweep` end in: a table here, a
picture beside the runs."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import click

if TYPE_CHECKING:
    from ...analysis.compare.generations import Generations
    from ...analysis.compare.methods import Method
    from ...analysis.compare.standing import Standing

PICTURE = "tradeoff.png"


class Compared(NamedTuple):
    """Each run's numbers, and the policies among the runs."""

    rows: list[Standing]
    methods: list[Method]


def say_tradeoff(
    paths: Sequence[Path],
    folder: Path,
    *,
    references: Sequence[int] | None = None,
    on_stderr: bool = False,
) -> Compared:
    """Print the table of these runs and draw `tradeoff.png` in `folder`. `references` [run]: the
    place of the run that each is measured from; the first unless given."""
    from ...analysis.compare.methods import methods
    from ...analysis.compare.standing import standings
    from ...analysis.compare.tradeoff import tradeoff_text
    from ...analysis.show.tradeoff import draw_tradeoff

    runs = [_read(path) for path in paths]
    rows = standings(runs, references)
    compared = Compared(rows, methods(rows))
    click.echo(tradeoff_text(*compared).rstrip(), err=on_stderr)
    picture = draw_tradeoff(*compared, folder / PICTURE)
    click.echo(f"\ntrade-off: {picture}\n", err=on_stderr)
    return compared


def _read(path: Path) -> Generations:
    from ...analysis.compare.generations import read_generations
    from ..store import open_run

    with open_run(path) as run:
        return read_generations(run)
