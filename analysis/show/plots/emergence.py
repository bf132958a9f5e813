"""Answer emergence panel: when the gold answer is first and lastingly guessed.

Everything is over all problems with a gold answer, beside the final accuracy.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from ...results import Analysis
from ..values import count, ends_in_words, usable
from . import style
from .frame import heading
from .lines import Line, lines_panel
from .panel import Panel
from .style import Look
from .text import number

if TYPE_CHECKING:
    from matplotlib.axes import Axes

TITLE = "Answer emergence"
STABLE = "emergence/stable_hit"
HALFWAY = "emergence/stable_hit_by_50"
LINES = (
    Line("emergence/first_hit", Look("first hit by now", style.EXTRA, "--"), band=True),
    Line(STABLE, Look("stable from now on", style.CORRECT, "-", 2.8), band=True),
    Line("emergence/settled", Look("settled, right or wrong", style.GREY, ":"), band=True),
)


def draw(ax: Axes, analysis: Analysis) -> None:
    """Distribution functions of first-hit, stable-hit and settling step, and the final accuracy as
    a level."""
    lines_panel(ax, analysis, LINES, label="share of problems")
    if usable(analysis, "accuracy"):
        _level(ax, float(analysis["accuracy"].values))
    ax.set_ylim(-0.02, 1.02)
    detail = f"gold answer at its place · all problems with gold, n = {count(analysis[STABLE])}"
    heading(ax, finding(analysis), detail, columns=2)


def finding(analysis: Analysis) -> str:
    """The share of problems that have the gold answer for good by half the steps."""
    if not usable(analysis, HALFWAY):
        return TITLE
    own = " through their own steps" if ends_in_words(analysis) else ""
    return f"{TITLE}: {100 * float(analysis[HALFWAY].values):.0f} % stable halfway{own}"


def _level(ax: Axes, accuracy: float) -> None:
    label = f"final accuracy {number(accuracy, 3)}"
    ax.axhline(accuracy, color=style.COMMITTED, lw=1.4, ls=(0, (6, 3)), label=label)


PANEL = Panel(TITLE, draw, needs=(STABLE,))
