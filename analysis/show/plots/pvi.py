"""Pointwise V-information panel: by how many bits question and canvas make the model surer of the
gold answer.

Mean over all problems with its interval, and over the problems that came out right and wrong.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from ...results import Analysis
from . import style

if TYPE_CHECKING:
    from matplotlib.axes import Axes

NAME = "pvi/gold_answer"
TITLE = "Information about the gold answer (PVI)"
LOOKS = {
    NAME: style.Look("all problems", style.INK, "-", 2.8),
    "pvi_correct/gold_answer": style.Look("correct in the end", style.CORRECT, "--", 2.2),
    "pvi_wrong/gold_answer": style.Look("wrong in the end", style.WRONG, ":", 2.6),
}


def draw_pvi(ax: Axes, analysis: Analysis) -> None:
    """Lines with 95 % bands; 0 is what the model believes without the question, below it knows
    worse than that."""
    if not style.usable(analysis, NAME):
        style.explain(ax, TITLE, style.why_not(analysis, NAME))
        return
    for name, look in LOOKS.items():
        if style.usable(analysis, name):
            style.line(ax, analysis[name], look, band=True)
    ax.axhline(0, color=style.QUIET, lw=0.9)
    style.steps(ax, analysis)
    ax.set_ylabel("bits more than without the question")
    detail = f"bits, the model's own beliefs · band 95 % · n = {style.count(analysis[NAME])}"
    style.heading(ax, finding(analysis), detail)


def finding(analysis: Analysis) -> str:
    """The mean at the first and the last step, in one line."""
    quantity = analysis[NAME]
    first, last = style.finite(quantity)[[0, -1]]
    before, after = (style.number(float(quantity.values[step]), 2) for step in (first, last))
    rises = "rise from" if np.greater(quantity.values[last], quantity.values[first]) else "go from"
    return f"Bits about the gold answer {rises} {before} to {after}"
