"""`diffengine list`: every table of things that can be named."""

from __future__ import annotations

import json

import click

from .arguments import JSON


@click.command("list")
@JSON
def list_names(as_json: bool) -> None:
    """List what can be named: model architectures, policies, analyses, plots, problem sources."""
    from ..models import FAMILIES
    from ..models.known_families import KNOWN
    from ..policies import POLICIES

    tables: dict[str, list[str]] = {"architectures": list(FAMILIES), "policies": list(POLICIES)}
    tables["architectures known, not yet supported"] = list(KNOWN)
    tables |= _analysis_tables()
    tables["problems"] = ["samples", "generated:N", "generated:N:seed=S", "FILE.jsonl", "FILE.json"]
    tables["problems"] += ["FILE.csv", "FILE.tsv", "FILE.parquet", "FILE.jsonl.gz", "-"]
    if as_json:
        click.echo(json.dumps(tables))
        return
    for kind, names in tables.items():
        click.echo(f"{kind}: {', '.join(names)}")


def _analysis_tables() -> dict[str, list[str]]:
    from ...analysis import registry
    from ...analysis.information.estimators import ESTIMATORS
    from ...analysis.names import finding_names
    from ...analysis.show.plots import PANELS

    return {
        "metrics": list(registry.METRICS),
        "information estimators": list(ESTIMATORS),
        "analyses": finding_names(),
        "spike rules": list(registry.SPIKE_RULES),
        "curve models": list(registry.CURVE_MODELS),
        "early-exit rules": list(registry.EXIT_RULES),
        "plots": list(PANELS),
    }
