"""CKA panel: step x step heat map, and the similarity of each step to the one before it.

Values are debiased linear CKA of the logits, a mean over problems; nothing is clipped, so slightly
negative ones occur.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from ...results import Analysis, Quantity
from ..values import block_starts, falls, finite, n_of, usable
from . import style
from .frame import clear, heading, step_ticks
from .lines import Line, lines_panel
from .panel import Panel
from .style import Look
from .text import figure_of

if TYPE_CHECKING:
    from matplotlib.axes import Axes

TITLE = "CKA similarity between steps"
SETTLED = 0.9
MATRIX = "cka/matrix"
BEFORE = "cka/consecutive"
FINAL = "cka/to_final"
LINES = (
    Line(BEFORE, Look("all positions", style.INK), band=True),
    Line("cka/consecutive_masked", Look("masked", style.MASKED, "--", 1.8)),
    Line("cka/consecutive_committed", Look("committed", style.COMMITTED, "-.", 1.8)),
)


def draw(ax: Axes, analysis: Analysis) -> None:
    """Heat map of `cka/matrix` on the left, `cka/consecutive*` on the right. Unit 1."""
    clear(ax)
    legend_of: tuple[Axes, ...] = ()
    if usable(analysis, BEFORE):
        right = ax.inset_axes((0.64, 0.0, 0.36, 0.92))
        draw_consecutive(right, analysis)
        legend_of = (right,)
    if usable(analysis, MATRIX):
        draw_matrix(ax.inset_axes((0.0, 0.0, 0.42, 0.92)), analysis)

    n = n_of(analysis, MATRIX if usable(analysis, MATRIX) else BEFORE)
    detail = f"debiased linear CKA of the logits · unit 1 · {n}"
    heading(ax, finding(analysis), detail, legend_of=legend_of)


def draw_matrix(ax: Axes, analysis: Analysis) -> None:
    """Only the heat map of `cka/matrix` [step, other_step]; skipped steps are left out."""
    from matplotlib import colormaps

    values = analysis[MATRIX].values
    performed = np.flatnonzero(np.isfinite(values).any(axis=0))
    shown = values[np.ix_(performed, performed)]
    edges = _edges(performed)
    image = ax.pcolormesh(
        edges,
        edges,
        shown,
        cmap=colormaps[style.SCALE].with_extremes(bad=style.RULE),
        vmin=min(0.0, float(np.nanmin(shown))),
        vmax=1.0,
        rasterized=True,
    )
    for start in block_starts(analysis):
        ax.axvline(start - 0.5, color="white", lw=0.6, alpha=0.7)
        ax.axhline(start - 0.5, color="white", lw=0.6, alpha=0.7)
    _square(ax, analysis)

    bar = ax.inset_axes((1.03, 0.0, 0.045, 1.0))
    figure_of(ax).colorbar(image, cax=bar, ticks=[0, 0.5, 1])
    bar.grid(visible=False)
    bar.tick_params(labelsize=style.SMALL)


def _edges(performed: np.ndarray) -> np.ndarray:
    """Where the cells of the performed steps begin and end: half way to the next."""
    between = (performed[1:] + performed[:-1]) / 2
    return np.concatenate([[performed[0] - 0.5], between, [performed[-1] + 0.5]])


def _square(ax: Axes, analysis: Analysis) -> None:
    """Steps along both axes of the heat map."""
    ax.grid(visible=False)
    ax.set_title("each step with each other", fontsize=style.SMALL, color=style.QUIET, loc="left")
    ax.set(xlabel="step", ylabel="step")
    step_ticks(ax.xaxis, analysis, 5)
    step_ticks(ax.yaxis, analysis, 5)


def draw_consecutive(ax: Axes, analysis: Analysis) -> None:
    """Only the similarity of each step to the performed step before it, by position set."""
    lines_panel(ax, analysis, LINES, label="", ticks=4)
    ax.set_title("each with the step before", fontsize=style.SMALL, color=style.QUIET, loc="left")
    low, high = ax.get_ylim()
    ax.set_ylim(min(low, 0.98), max(1.0, high) + 0.02)


def finding(analysis: Analysis) -> str:
    """What the panel shows, in one line."""
    if not usable(analysis, FINAL) or falls(analysis[FINAL]):
        return TITLE  # with fewer problems at later steps their mean settles nowhere
    steps = finite(analysis[FINAL])
    step = settled(analysis[FINAL])
    if len(steps) < 3:
        return TITLE
    if step == steps[-1]:
        return f"Logits change until the end (CKA < {SETTLED:g})"
    return f"Logits settle at step {step} (CKA to final ≥ {SETTLED:g})"


def settled(to_final: Quantity) -> int | None:
    """First step from which on CKA to the final step stays at or above `SETTLED`; None without
    values."""
    steps = finite(to_final)
    if not steps.size:
        return None
    below = steps[to_final.values[steps] < SETTLED]
    after = steps[steps > below[-1]] if below.size else steps
    return int(after[0]) if after.size else int(steps[-1])


PANEL = Panel(TITLE, draw, needs=(BEFORE, MATRIX))
