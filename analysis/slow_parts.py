"""The parts of an analysis that take long, by name: information over steps, and the map of the
states.

Each puts its results into an analysis that has the rest, so that the rest can be saved before it
begins.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from .metrics.trajectories import steps_of
from .results import Analysis

if TYPE_CHECKING:
    from ..engine.store import Run


def slow_parts(
    run: Run, *, seed: int, k: int, n_bins: int, mutual_information: bool, tsne: bool
) -> list[tuple[str, Callable[[Analysis], None]]]:
    """What takes long, by name; each puts its results into an analysis that has the rest."""

    def information(analysis: Analysis) -> None:
        from .information import over_steps as estimates

        made = estimates.mutual_information(run, seed=seed, k=k, n_bins=n_bins)
        analysis.quantities.update(made.quantities)
        analysis.info["mutual_information"] = made.info
        analysis.info["warnings"] += made.warnings

    def beyond(analysis: Analysis) -> None:
        from .information.beyond_first_step import beyond_first_step

        more = beyond_first_step(run, seed=seed)
        analysis.quantities.update(more.quantities)
        analysis.info["mutual_information"] |= {"beyond_first_step": more.info}
        analysis.info["warnings"] += more.warnings

    def embedding(analysis: Analysis) -> None:
        made = _map(run)
        analysis.info["warnings"] += made["tsne"].pop("warnings")
        analysis.info.update(made)

    parts = [("mutual information", information), ("information beyond the first step", beyond)]
    return [
        *(parts if mutual_information else []),
        *([("the t-SNE map", embedding)] if tsne else []),
    ]


def unfinished(analysis: Analysis, to_come: list[str]) -> Analysis:
    """A copy of what there is, which says what was still to come when it was saved."""
    said = (
        f"unfinished: {', '.join(to_come)} had not been computed when this was saved; run "
        "`diffengine analyze` again"
    )
    return replace(
        analysis,
        quantities=dict(analysis.quantities),
        info=analysis.info | {"to_come": to_come, "warnings": [said, *analysis.info["warnings"]]},
    )


def _map(run: Run) -> dict[str, Any]:
    """`tsne` (plain facts) and its arrays `tsne_points`, `tsne_step`, `tsne_problem`,
    `tsne_centroid`."""
    from .states.tsne import embed_run

    found = embed_run(run, steps=steps_of(run))._asdict()
    arrays = {f"tsne_{name}": found.pop(name) for name in ("points", "step", "problem", "centroid")}
    return {"tsne": found, **arrays}
