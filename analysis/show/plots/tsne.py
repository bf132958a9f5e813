"""t-SNE panel: every (problem, step) of one joint map, coloured by step, and the path of each
step's centroid."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from ...results import Analysis
from . import style

if TYPE_CHECKING:
    from matplotlib.axes import Axes

TITLE = "t-SNE map of the denoising path"
STATES = {"state_answer": "state at the answer", "state_masked": "state over masked positions"}
POINTS = 12.0  # square points


def draw_tsne(ax: Axes, analysis: Analysis) -> None:
    """Scatter of `info["tsne_points"]`; says what to install or to ask for where there is no
    map."""
    found: dict[str, Any] = analysis.info.get("tsne", {})
    if found.get("status") != "ok":
        style.explain(
            ax,
            TITLE,
            str(found.get("status", "Not computed: asked for without the map (--no-tsne)")),
        )
        return
    points = np.asarray(analysis.info["tsne_points"])
    step = np.asarray(analysis.info["tsne_step"])
    steps = max(int(analysis.info.get("steps", 1)), 1)
    style.clear(ax)
    map_ = ax.inset_axes((0.0, 0.0, 0.945, 1.0))
    bar = ax.inset_axes((0.957, 0.0, 0.014, 0.94))
    image = map_.scatter(
        points[:, 0],
        points[:, 1],
        c=step,
        s=POINTS,
        cmap=style.SCALE,
        vmin=0,
        vmax=max(steps - 1, 1),
        lw=0,
        alpha=0.65,
        rasterized=True,
    )
    _path(map_, np.asarray(analysis.info["tsne_centroid"]))
    map_.set(xticks=[], yticks=[], xlabel="t-SNE 1 (no unit)", ylabel="t-SNE 2 (no unit)")
    map_.grid(visible=False)
    style.figure_of(ax).colorbar(image, cax=bar)
    bar.set_title("step", fontsize=style.SMALL, color=style.QUIET, pad=4)
    bar.grid(visible=False)
    bar.tick_params(labelsize=style.SMALL)
    problems = len(np.unique(analysis.info["tsne_problem"]))
    state = STATES.get(found["state"], found["state"])
    detail = (
        f"{state}, all steps in one map · {len(points)} rows of {problems} problems · "
        f"{found['tool']}, "
        f"perplexity {found['perplexity']:g} · keeps {100 * found['kept']:.0f} % of 10 nearest "
        "neighbours "
        f"(chance {100 * found['chance']:.1f} %) · distances and cluster sizes mean nothing"
    )
    style.heading(ax, TITLE, detail, legend_of=(map_,))


def _path(ax: Axes, centroid: np.ndarray) -> None:
    at = np.flatnonzero(np.isfinite(centroid).all(axis=1))
    x = centroid[at, 0]
    y = centroid[at, 1]
    ax.plot(x, y, "-", color="white", lw=4.6, zorder=4)
    ax.plot(x, y, "-", color=style.WRONG, lw=2.2, zorder=5, label="centroid of each step")
    for index, marker in ((0, "o"), (-1, "s")):
        look: dict[str, Any] = {
            "ms": 9,
            "mfc": "white",
            "mec": style.WRONG,
            "mew": 2.2,
            "ls": "none",
            "zorder": 6,
        }
        ax.plot(x[index], y[index], marker, label=f"step {at[index]}", **look)
