"""KL panel: how far the token distributions move from one step to the next, in bits."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from ...results import Analysis, Quantity
from ..values import block_starts, covered, is_of_blocks, n_of
from . import style
from .frame import heading
from .lines import Line, from_zero, lines_panel
from .panel import Panel
from .style import Look
from .text import number

if TYPE_CHECKING:
    from matplotlib.axes import Axes

LINES = (
    Line("kl/all", Look("all positions (95 % band)", style.INK), band=True),
    Line("kl/masked", Look("masked", style.MASKED, "--", 1.8)),
    Line("kl/committed", Look("committed", style.COMMITTED, "-.", 1.8)),
)


def draw(ax: Axes, analysis: Analysis) -> None:
    """KL(p_t || p_t-1) over steps, mean over positions and problems, in bits."""
    lines_panel(ax, analysis, LINES, label="bits per position")
    from_zero(ax)
    quantity = analysis["kl/all"]
    detail = f"KL(p_t ‖ p_t−1), mean over positions · bits · {n_of(analysis, 'kl/all')}"
    title = "KL over the open block"  # its steps are at other steps in each problem
    if not is_of_blocks(analysis):
        title = finding(quantity, block_starts(analysis))
    heading(ax, title, detail)


def finding(quantity: Quantity, starts: np.ndarray) -> str:
    """What the panel shows: the largest move, and whether it is where a block begins."""
    steps = covered(quantity)
    largest = int(steps[np.argmax(quantity.values[steps])])
    where = " (block start)" if largest in starts else ""
    return f"KL peaks at step {largest}{where}: {number(quantity.values[largest], 2)} bits"


PANEL = Panel("KL divergence between steps", draw, needs=("kl/all",))
