"""`diffengine list`: every table of things that can be named, and whose the things are."""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping
from typing import Any

import click

from ..registry import OURS, Registry, Row, nearest
from .arguments import JSON

PRESETS = "presets"
PROBLEMS = [
    "samples",
    "generated:N",
    "generated:N:seed=S",
    "FILE.jsonl",
    "FILE.json",
    "FILE.csv",
    "FILE.tsv",
    "FILE.parquet",
    "FILE.jsonl.gz",
    "-",
]


@click.command("list")
@click.argument("names", metavar="[TABLE]...", nargs=-1)
@JSON
def list_names(names: tuple[str, ...], as_json: bool) -> None:
    """List what can be named: model architectures, policies, presets, analyses, plots, problem
    sources.

    TABLE is the title of a table, such as `policies`; `presets` alone says what each one sets, its
    published scores, if it has any, and where they are found. Behind a name that an installed
    package has added stand that package and its version.
    """
    tables = _chosen(_tables(), names)
    if as_json:
        plain = {title: _plain(table) for title, table in tables.items()}
        click.echo(json.dumps({**plain, "plugins": _plugins(tables)}))
        return
    for title, table in tables.items():
        if names and title == PRESETS:
            from ..presets.show import lines

            click.echo("\n".join(lines()))
        else:
            click.echo(f"{title}: {', '.join(_with_package(name, table) for name in table)}")


def _chosen(
    tables: dict[str, Collection[str]], titles: Collection[str]
) -> dict[str, Collection[str]]:
    """The tables of these titles, all without any; raises click.UsageError."""
    for title in titles:
        if title not in tables:
            raise click.UsageError(
                f"no table is called {title!r}; there are: {', '.join(tables)}."
                f"{nearest(title, tables)}"
            )
    return {title: tables[title] for title in titles or tables}


def _plain(table: Collection[str]) -> Any:
    """A list of the names; of presets, an object with what each one is."""
    from ..presets import Preset

    if not isinstance(table, Mapping):
        return list(table)
    presets = {name: row.record() for name, row in table.items() if isinstance(row, Preset)}
    return presets or list(table)


def _tables() -> dict[str, Collection[str]]:
    """Title -> names, or the registry that has them."""
    from ...analysis import names, registry
    from ...analysis.information.estimators import ESTIMATORS
    from ...analysis.show.plots import PANELS
    from ..models import FAMILIES
    from ..models.known_families import KNOWN
    from ..policies import POLICIES
    from ..presets import PRESETS as ALL_PRESETS

    return {
        "architectures": FAMILIES,
        "policies": POLICIES,
        PRESETS: ALL_PRESETS,
        "architectures known, not yet supported": list(KNOWN),
        "metrics": registry.METRICS,
        "information estimators": ESTIMATORS,
        "analyses": names.finding_names(),
        "spike rules": registry.SPIKE_RULES,
        "curve models": registry.CURVE_MODELS,
        "early-exit rules": registry.EXIT_RULES,
        "plots": PANELS,
        "problems": PROBLEMS,
    }


def _with_package(name: str, table: Collection[str]) -> str:
    row = _foreign_row(name, table)
    if row is None:
        return name
    return f"{name} ({row.package} {row.version})"


def _plugins(tables: dict[str, Collection[str]]) -> list[dict[str, str]]:
    """What is not ours, by its table."""
    plugins = []
    for title, table in tables.items():
        for name in table:
            row = _foreign_row(name, table)
            if row is not None:
                plugins.append({"table": title, **row._asdict()})
    return plugins


def _foreign_row(name: str, table: Collection[str]) -> Row | None:
    """The row of what an installed package has added to one of our registries."""
    if not isinstance(table, Registry):
        return None
    row = table.row(name)
    return None if row.package == OURS else row
