"""Entropy panel: how uncertain the token distributions are, over all, masked and committed
positions, at the answer."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ...results import Analysis
from ..values import course_of, is_of_blocks, n_of
from . import style
from .frame import heading
from .lines import Line, from_zero, lines_panel
from .panel import Panel
from .style import Look
from .text import change

if TYPE_CHECKING:
    from matplotlib.axes import Axes

NAME = "entropy/all"
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
    detail = f"H(P_t), mean over positions · bits · {n_of(analysis, NAME)}"
    heading(ax, finding(analysis), detail, columns=2)


def finding(analysis: Analysis) -> str:
    """What the panel shows: from where to where the entropy goes."""
    course = course_of(analysis, NAME)
    if is_of_blocks(analysis):
        return "Entropy over the open block"  # first and last step are of other positions
    if course is None:
        return "Entropy"
    word = "stays"
    if course.last < course.first:
        word = "falls"
    if course.last > course.first:
        word = "rises"
    return f"Entropy {word}: {change(analysis, NAME, 2)} bits"


PANEL = Panel("Entropy", draw, needs=("entropy/all",))
