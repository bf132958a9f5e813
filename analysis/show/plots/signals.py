"""Early signals panel: which signal that ignores the gold answer can tell right from wrong, and
from which step on."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ...results import Analysis
from ..values import count
from . import style
from .frame import heading
from .lines import Line, lines_panel
from .panel import Panel
from .style import Look

if TYPE_CHECKING:
    from matplotlib.axes import Axes

TITLE = "Who knows early?"
LINES = (
    Line("auroc/answer_confidence", Look("answer: confidence", style.INK, "-", 2.6), band=True),
    Line("auroc/answer_margin", Look("answer: margin", style.CORRECT, "--", 2.0)),
    Line("auroc/answer_entropy", Look("answer: entropy", style.MASKED, "-.", 2.0)),
    Line("auroc/canvas_entropy", Look("canvas: entropy", style.WRONG, "-", 2.0), band=True),
    Line("auroc/canvas_kl", Look("canvas: KL", style.EXTRA, ":", 2.4)),
)


def draw(ax: Axes, analysis: Analysis) -> None:
    """AUROC against correctness by step, 95 % bands for the first answer and canvas signal."""
    names = lines_panel(ax, analysis, LINES, label="AUROC (0.5: no idea)")
    ax.axhline(0.5, color=style.QUIET, lw=1.0)
    n = max(count(analysis[name]) for name in names)
    detail = f"signal that ignores gold against final correctness · band 95 % (DeLong) · n = {n}"
    heading(ax, TITLE, detail)


PANEL = Panel(TITLE, draw, needs=tuple(line.quantity for line in LINES))
