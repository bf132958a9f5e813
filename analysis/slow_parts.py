"""The parts of an analysis that take long, by name: information over steps, and the map of the
states.

Each puts its results into an analysis that has the rest, so that the rest can be saved before it
begins.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, NamedTuple

from .metrics.trajectories import steps_of
from .results import Analysis
from .settings import Settings

if TYPE_CHECKING:
    from ..engine.store import Run
    from .information.features import RunFeatures


class SlowPart(NamedTuple):
    """What takes long: its title in messages, and what puts its results into an analysis."""

    title: str
    add: Callable[[Analysis], None]


def slow_parts(
    run: Run,
    settings: Settings,
    *,
    mutual_information: bool,
    tsne: bool,
    estimators: Sequence[str] = (),
) -> list[SlowPart]:
    """Those that are asked for, in the order in which they are made. `estimators`: those of mutual
    information that are in no table, each `package.module:object`."""
    parts = []
    if mutual_information:
        from .information.features import RunFeatures

        features = RunFeatures(run)
        parts += [
            SlowPart(
                "mutual information",
                lambda each: _information(features, settings, estimators, each),
            ),
            SlowPart(
                "information beyond the first step",
                lambda each: _beyond(features, settings, each),
            ),
        ]
    if tsne:
        parts.append(SlowPart("the t-SNE map", lambda each: _map(run, each)))
    return parts


def slow_names() -> list[str]:
    """The quantities that slow parts add."""
    from .information import beyond_first_step, estimators

    return [*estimators.quantity_names(), *beyond_first_step.quantity_names()]


def unfinished(analysis: Analysis, to_come: list[str]) -> Analysis:
    """A copy of what there is, which says what was still to come when it was saved."""
    warning = (
        f"unfinished: {', '.join(to_come)} had not been computed when this was saved; run "
        "`diffengine analyze` again"
    )
    info = analysis.info.copy()
    info["to_come"] = to_come
    info["warnings"] = [warning, *analysis.info["warnings"]]
    return replace(analysis, quantities=dict(analysis.quantities), info=info)


def _information(
    features: RunFeatures, settings: Settings, estimators: Sequence[str], analysis: Analysis
) -> None:
    from .information.over_steps import mutual_information

    result = mutual_information(
        features.run,
        seed=settings.analysis_seed,
        k=settings.k,
        n_bins=settings.n_bins,
        estimators=estimators,
        features=features,
    )
    analysis.quantities.update(result.quantities)
    analysis.info["mutual_information"] = result.info
    if result.plugins:
        analysis.info["plugins"] = [*analysis.info.get("plugins", []), *result.plugins]
    analysis.info["warnings"] += result.warnings


def _beyond(features: RunFeatures, settings: Settings, analysis: Analysis) -> None:
    from .information.beyond_first_step import beyond_first_step

    result = beyond_first_step(features.run, seed=settings.analysis_seed, features=features)
    analysis.quantities.update(result.quantities)
    analysis.info["mutual_information"] |= {"beyond_first_step": result.info}
    analysis.info["warnings"] += result.warnings


def _map(run: Run, analysis: Analysis) -> None:
    """Add `tsne` (plain values) and its arrays `tsne_points`, `tsne_step`, `tsne_problem`,
    `tsne_centroid`."""
    from .states.tsne import embed_run

    embedding = embed_run(run, steps=steps_of(run))
    plain = embedding._asdict()
    for name in ("points", "step", "problem", "centroid", "warnings"):
        del plain[name]
    analysis.info["warnings"] += embedding.warnings
    analysis.info["tsne"] = plain
    analysis.info["tsne_points"] = embedding.points
    analysis.info["tsne_step"] = embedding.step
    analysis.info["tsne_problem"] = embedding.problem
    analysis.info["tsne_centroid"] = embedding.centroid
