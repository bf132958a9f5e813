"""Entropy panel: how uncertain the token distributions are, over all, masked and committed
positions, at the answer."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ...results import Analysis, Quantity
from ..values import count, finite
from . import style
from .frame import heading
from .lines import Line, from_zero, lines_panel
from .panel import Panel
from .style import Look
from .text import change

if TYPE_CHECKING:
    from matplotlib.axes import Axes

LINES = (
    Line("entropy/all", Look("all positions (95 % band)", style.INK, "-", 2.6), band=True),
    Line("entropy/masked", Look("masked", style.MASKED, "--", 2.0)),
    Line("entropy/committed", Look("committed", style.COMMITTED, "-.", 1.8)),
    Line("conditional_entropy/answer_slot", Look("at the answer", style.EXTRA, ":", 2.2)),
)


def draw(ax: Axes, analysis: Analysis) -> None:
    """H(P_t) in bits over steps, mean over positions and problems."""
    lines_panel(ax, analysis, LINES, label="bits per position")
    from_zero(ax)
    quantity = analysis["entropy/all"]
    detail = f"H(P_t), mean over positions · bits · n = {count(quantity)}"
    heading(ax, finding(quantity), detail, columns=2)


def finding(quantity: Quantity) -> str:
    """What the panel shows: from where to where the entropy goes."""
    first, last = finite(quantity)[[0, -1]]
    difference = quantity.values[last] - quantity.values[first]
    word = "stays"
    if difference < 0:
        word = "falls"
    if difference > 0:
        word = "rises"
    return f"Entropy {word}: {change(quantity, 2)} bits"


PANEL = Panel("Entropy", draw, needs=("entropy/all",))
