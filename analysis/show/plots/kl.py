"""KL panel: how far the token distributions move from one step to the next, in bits."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from ...results import Analysis, Quantity
from . import style

if TYPE_CHECKING:
    from matplotlib.axes import Axes

TITLE = "KL divergence between steps"
LINES = {
    "kl/all": style.Look("all positions (95 % band)", style.INK),
    "kl/masked": style.Look("masked", style.MASKED, "--", 1.8),
    "kl/committed": style.Look("committed", style.COMMITTED, "-.", 1.8),
}


def draw_kl(ax: Axes, analysis: Analysis) -> None:
    """KL(p_t || p_t-1) over steps, mean over positions and problems, in bits."""
    if not style.usable(analysis, "kl/all"):
        style.explain(ax, TITLE, style.why_not(analysis, "kl/all"))
        return
    for name, look in LINES.items():
        if style.usable(analysis, name):
            style.line(ax, analysis[name], look, band=name == "kl/all")
    style.steps(ax, analysis)
    ax.set_ylabel("bits per position")
    ax.set_ylim(bottom=min(0.0, ax.get_ylim()[0]))
    n = style.count(analysis["kl/all"])
    style.heading(
        ax,
        finding(analysis["kl/all"], style.block_starts(analysis)),
        f"KL(p_t ‖ p_t−1), mean over positions · bits · n = {n}",
    )


def finding(quantity: Quantity, starts: np.ndarray) -> str:
    """What the panel shows: the largest move, and whether it is where a block begins."""
    at = style.finite(quantity)
    largest = int(at[np.argmax(quantity.values[at])])
    where = " (block start)" if largest in starts else ""
    return f"KL peaks at step {largest}{where}: {style.number(quantity.values[largest], 2)} bits"
