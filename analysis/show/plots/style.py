"""The common look of every panel: colours, sizes of text, and how a line is drawn.

Colours are Okabe and Ito's, which stay apart for colour-blind readers; every pair that shares a
panel also differs in line style.
"""

from __future__ import annotations

from typing import Any, NamedTuple

INK = "#1f2328"
QUIET = "#59636e"
RULE = "#d0d7de"
PAPER = "#f6f8fa"
GREY = "#7a858f"
CORRECT = "#0072B2"
WRONG = "#D55E00"
MASKED = "#CC79A7"
COMMITTED = "#007A5A"
EXTRA = "#E69F00"
OCHRE = "#9a7b2f"
SKY = "#56B4E9"
SCALE = "cividis"

# points, at the size the dashboard is saved
BODY = 12.0
SMALL = 11.0
TITLE = 14.5

RC: Any = {
    "font.family": "DejaVu Sans",
    "font.size": BODY,
    "axes.edgecolor": QUIET,
    "axes.labelcolor": INK,
    "axes.labelsize": BODY,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.axisbelow": True,
    "grid.color": "#e6eaee",
    "grid.linewidth": 0.8,
    "text.color": INK,
    "xtick.color": QUIET,
    "ytick.color": QUIET,
    "xtick.labelsize": SMALL,
    "ytick.labelsize": SMALL,
    "lines.linewidth": 2.2,
    "lines.solid_capstyle": "round",
    "figure.facecolor": "white",
}
"""Settings for `matplotlib.rc_context` around anything drawn here."""


class Look(NamedTuple):
    """How one line is drawn: its name in the legend, colour, dash pattern, width in points and
    opacity."""

    name: str
    colour: str = INK
    dash: str = "-"
    width: float = 2.2
    alpha: float = 1.0
