"""Entropy panel: how uncertain the token distributions are, over all, masked and committed
positions, at the answer."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ...results import Analysis, Quantity
from . import style

if TYPE_CHECKING:
    from matplotlib.axes import Axes

TITLE = "Entropy"
LINES = {
    "entropy/all": style.Look("all positions (95 % band)", style.INK, "-", 2.6),
    "entropy/masked": style.Look("masked", style.MASKED, "--", 2.0),
    "entropy/committed": style.Look("committed", style.COMMITTED, "-.", 1.8),
    "conditional_entropy/answer_slot": style.Look("at the answer", style.EXTRA, ":", 2.2),
}


def draw_entropy(ax: Axes, analysis: Analysis) -> None:
    """H(P_t) in bits over steps, mean over positions and problems."""
    if not style.usable(analysis, "entropy/all"):
        style.explain(ax, TITLE, style.why_not(analysis, "entropy/all"))
        return
    for name, look in LINES.items():
        if style.usable(analysis, name):
            style.line(ax, analysis[name], look, band=name == "entropy/all")
    style.steps(ax, analysis)
    ax.set_ylabel("bits per position")
    ax.set_ylim(bottom=min(0.0, ax.get_ylim()[0]))
    n = style.count(analysis["entropy/all"])
    style.heading(
        ax,
        finding(analysis["entropy/all"]),
        f"H(P_t), mean over positions · bits · n = {n}",
        columns=2,
    )


def finding(quantity: Quantity) -> str:
    """What the panel shows: from where to where the entropy goes."""
    at = style.finite(quantity)
    difference = quantity.values[at[-1]] - quantity.values[at[0]]
    word = "falls" if difference < 0 else "rises" if difference > 0 else "stays"
    return f"{TITLE} {word}: {style.change(quantity, 2)} bits"
