"""`diffengine list`: every table of things that can be named, and whose the things are."""

from __future__ import annotations

import json
from collections.abc import Collection

import click

from ..registry import OURS, Registry, Row
from .arguments import JSON

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
@JSON
def list_names(as_json: bool) -> None:
    """List what can be named: model architectures, policies, analyses, plots, problem sources.

    Behind a name that an installed package has added stand that package and its version.
    """
    tables = _tables()
    if as_json:
        names = {title: list(table) for title, table in tables.items()}
        click.echo(json.dumps({**names, "plugins": _plugins(tables)}))
        return
    for title, table in tables.items():
        click.echo(f"{title}: {', '.join(_with_package(name, table) for name in table)}")


def _tables() -> dict[str, Collection[str]]:
    """Title -> names, or the registry that has them."""
    from ...analysis import names, registry
    from ...analysis.information.estimators import ESTIMATORS
    from ...analysis.show.plots import PANELS
    from ..models import FAMILIES
    from ..models.known_families import KNOWN
    from ..policies import POLICIES

    return {
        "architectures": FAMILIES,
        "policies": POLICIES,
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
