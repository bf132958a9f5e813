"""CKA panel: step x step heat map, and the similarity of each step to the one before it.

Values are debiased linear CKA of the logits, a mean over problems; nothing is clipped, so slightly
negative ones occur.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from ...results import Analysis, Quantity
from . import style

if TYPE_CHECKING:
    from matplotlib.axes import Axes

SETTLED = 0.9
TITLE = "CKA similarity between steps"

LINES = {
    "cka/consecutive": style.Look("all positions", style.INK),
    "cka/consecutive_masked": style.Look("masked", style.MASKED, "--", 1.8),
    "cka/consecutive_committed": style.Look("committed", style.COMMITTED, "-.", 1.8),
}


def draw_cka(ax: Axes, analysis: Analysis) -> None:
    """Heat map of `cka/matrix` on the left, `cka/consecutive*` on the right. Unit 1."""
    matrix = style.usable(analysis, "cka/matrix")
    lines = style.usable(analysis, "cka/consecutive")
    if not matrix and not lines:
        style.explain(ax, TITLE, style.why_not(analysis, "cka/consecutive"))
        return
    style.clear(ax)
    sources = (draw_consecutive(ax.inset_axes((0.64, 0.0, 0.36, 0.92)), analysis),) if lines else ()
    if matrix:
        draw_matrix(ax.inset_axes((0.0, 0.0, 0.42, 0.92)), analysis)
    n = style.count(analysis["cka/matrix" if matrix else "cka/consecutive"])
    style.heading(
        ax,
        finding(analysis),
        f"debiased linear CKA of the logits · unit 1 · n = {n}",
        legend_of=sources,
    )


def draw_matrix(ax: Axes, analysis: Analysis) -> None:
    """Only the heat map of `cka/matrix` [step, other_step]; skipped steps are left out."""
    from matplotlib import colormaps

    values = analysis["cka/matrix"].values
    performed = np.flatnonzero(np.isfinite(values).any(axis=0))
    shown = values[np.ix_(performed, performed)]
    edges = np.concatenate(
        [[performed[0] - 0.5], (performed[1:] + performed[:-1]) / 2, [performed[-1] + 0.5]]
    )
    shades = colormaps[style.SCALE].with_extremes(bad=style.RULE)
    image = ax.pcolormesh(
        edges,
        edges,
        shown,
        cmap=shades,
        vmin=min(0.0, float(np.nanmin(shown))),
        vmax=1.0,
        rasterized=True,
    )
    for start in style.block_starts(analysis):
        ax.axvline(start - 0.5, color="white", lw=0.6, alpha=0.7)
        ax.axhline(start - 0.5, color="white", lw=0.6, alpha=0.7)
    ax.grid(visible=False)
    ax.set_title("each step with each other", fontsize=style.SMALL, color=style.QUIET, loc="left")
    ax.set(xlabel="step", ylabel="step")
    for axis in (ax.xaxis, ax.yaxis):
        style.step_ticks(axis, analysis, 5)
    bar = ax.inset_axes((1.03, 0.0, 0.045, 1.0))
    style.figure_of(ax).colorbar(image, cax=bar, ticks=[0, 0.5, 1])
    bar.grid(visible=False)
    bar.tick_params(labelsize=style.SMALL)


def draw_consecutive(ax: Axes, analysis: Analysis) -> Axes:
    """Only the similarity of each step to the performed step before it, by position set; returns
    `ax`."""
    for name, look in LINES.items():
        if style.usable(analysis, name):
            style.line(ax, analysis[name], look, band=name == "cka/consecutive")
    style.steps(ax, analysis, ticks=4)
    ax.set_title("each with the step before", fontsize=style.SMALL, color=style.QUIET, loc="left")
    low, high = ax.get_ylim()
    ax.set_ylim(min(low, 0.98), max(1.0, high) + 0.02)
    return ax


def finding(analysis: Analysis) -> str:
    """What the panel shows, in one line."""
    at = settled(analysis["cka/to_final"]) if style.usable(analysis, "cka/to_final") else None
    if at is None or len(style.finite(analysis["cka/to_final"])) < 3:
        return TITLE
    if at == style.finite(analysis["cka/to_final"])[-1]:
        return f"Logits change until the end (CKA < {SETTLED:g})"
    return f"Logits settle at step {at} (CKA to final ≥ {SETTLED:g})"


def settled(to_final: Quantity) -> int | None:
    """First step from which on CKA to the final step stays at or above `SETTLED`; None without
    values."""
    at = style.finite(to_final)
    if not at.size:
        return None
    below = at[to_final.values[at] < SETTLED]
    after = at[at > below[-1]] if below.size else at
    return int(after[0]) if after.size else int(at[-1])
