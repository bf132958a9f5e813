"""t-SNE panel: every (problem, step) of one joint map, coloured by step, and the path of each
step's centroid."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from ....engine.store.counts import count_text
from ...limits import well_covered
from ...results import Analysis
from ..values import is_of_blocks, steps_shown
from . import style
from .frame import clear, explain, heading
from .panel import Panel
from .text import figure_of

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.collections import PathCollection

TITLE = "t-SNE map of the denoising path"
ABSENT = "Not computed: asked for without the map (--no-tsne)"
STATES = {"state_answer": "state at the answer", "state_masked": "state over masked positions"}
POINTS = 12.0  # square points


def draw(ax: Axes, analysis: Analysis) -> None:
    """Scatter of `info["tsne_points"]`; says what to install or to ask for where there is no
    map."""
    status = str(analysis.info.get("tsne", {}).get("status", ABSENT))
    if status != "ok":
        explain(ax, TITLE, status)
        return
    clear(ax)
    map_ = ax.inset_axes((0.0, 0.0, 0.945, 1.0))
    points = _scatter(map_, analysis)
    if not is_of_blocks(analysis):  # there each step's centroid is of other problems
        _path(map_, well_covered_centroids(analysis))
    map_.set(xticks=[], yticks=[], xlabel="t-SNE 1 (no unit)", ylabel="t-SNE 2 (no unit)")
    map_.grid(visible=False)

    bar = ax.inset_axes((0.957, 0.0, 0.014, 0.94))
    figure_of(ax).colorbar(points, cax=bar)
    bar.set_title("step", fontsize=style.SMALL, color=style.QUIET, pad=4)
    bar.grid(visible=False)
    bar.tick_params(labelsize=style.SMALL)
    heading(ax, TITLE, _detail(analysis), legend_of=(map_,))


def _scatter(ax: Axes, analysis: Analysis) -> PathCollection:
    points = np.asarray(analysis.info["tsne_points"])
    last = steps_shown(analysis) - 1
    return ax.scatter(
        points[:, 0],
        points[:, 1],
        c=np.asarray(analysis.info["tsne_step"]),
        s=POINTS,
        cmap=style.SCALE,
        vmin=0,
        vmax=max(last, 1),
        lw=0,
        alpha=0.65,
        rasterized=True,
    )


def well_covered_centroids(analysis: Analysis) -> np.ndarray:
    """Centroids [step, 2], NaN at steps with fewer than half as many problems as the best one: the
    last ones would be the path of a few slow problems."""
    centroid = np.asarray(analysis.info["tsne_centroid"])
    rows = np.bincount(np.asarray(analysis.info["tsne_step"], int), minlength=len(centroid))
    return np.where(well_covered(rows)[:, None], centroid, np.nan)


def _path(ax: Axes, centroid: np.ndarray) -> None:
    """The centroids [step, 2] in order, the first and the last marked."""
    steps = np.flatnonzero(np.isfinite(centroid).all(axis=1))
    x = centroid[steps, 0]
    y = centroid[steps, 1]
    ax.plot(x, y, "-", color="white", lw=4.6, zorder=4)
    ax.plot(x, y, "-", color=style.WRONG, lw=2.2, zorder=5, label="centroid of each step")
    look: dict[str, Any] = {"ms": 9, "mfc": "white", "mec": style.WRONG, "mew": 2.2, "ls": "none"}
    ax.plot(x[0], y[0], "o", label=f"step {steps[0]}", zorder=6, **look)
    ax.plot(x[-1], y[-1], "s", label=f"step {steps[-1]}", zorder=6, **look)


def _detail(analysis: Analysis) -> str:
    """What the map is of, and how far it can be trusted."""
    made = analysis.info["tsne"]
    state = STATES.get(made["state"], made["state"])
    rows = len(analysis.info["tsne_points"])
    problems = len(np.unique(analysis.info["tsne_problem"]))
    without_path = ""
    if is_of_blocks(analysis):
        without_path = " · no path: at each step the state is there in other problems"
    return (
        f"{state}, all steps in one map · {count_text(rows, 'row')} of "
        f"{count_text(problems, 'problem')} · {made['tool']}, "
        f"perplexity {made['perplexity']:g} · keeps {100 * made['kept']:.0f} % of 10 nearest "
        f"neighbours (chance {100 * made['chance']:.1f} %) · distances and cluster sizes mean "
        f"nothing{without_path}"
    )


PANEL = Panel(TITLE, draw, width=2, height=1.05)
