"""Pointwise V-information panel: by how many bits question and canvas make the model surer of the
gold answer.

Mean over all problems with its interval, and over the problems that came out right and wrong.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from ...results import Analysis, Quantity
from ..values import count, finite
from . import style
from .frame import heading
from .lines import Line, lines_panel
from .panel import Panel
from .style import Look
from .text import number

if TYPE_CHECKING:
    from matplotlib.axes import Axes

NAME = "pvi/gold_answer"
LINES = (
    Line(NAME, Look("all problems", style.INK, "-", 2.8), band=True),
    Line("pvi_correct/gold_answer", Look("correct in the end", style.CORRECT, "--"), band=True),
    Line("pvi_wrong/gold_answer", Look("wrong in the end", style.WRONG, ":", 2.6), band=True),
)


def draw(ax: Axes, analysis: Analysis) -> None:
    """Lines with 95 % bands; 0 is what the model believes without the question, below it knows
    worse than that."""
    lines_panel(ax, analysis, LINES, label="bits more than without the question")
    ax.axhline(0, color=style.QUIET, lw=0.9)
    quantity = analysis[NAME]
    detail = f"bits, the model's own beliefs · band 95 % · n = {count(quantity)}"
    heading(ax, finding(quantity), detail)


def finding(quantity: Quantity) -> str:
    """The mean at the first and the last step, in one line."""
    first, last = finite(quantity)[[0, -1]]
    before = float(quantity.values[first])
    after = float(quantity.values[last])
    word = "rise" if after > before else "go"
    return f"Bits about the gold answer {word} from {number(before, 2)} to {number(after, 2)}"


PANEL = Panel("Information about the gold answer (PVI)", draw, needs=(NAME,), on_dashboard=False)
