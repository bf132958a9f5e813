"""Mutual information panel: I(State; Correct) by estimator over steps, intervals, and where it is
significant.

Draws every curve `mi/<name>` that the analysis has, and `mi_size/<name>` (about the size of the
answer, not whether it is right), but those whose estimators keep them off the dashboard.
Significance is `mi_p/<name>` (max-T over steps). The filled area is `mi_beyond/logistic`, what a
step adds to the first. Nothing is clipped: an estimate below zero is drawn there.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from ...information.estimators import off_dashboard
from ...results import Analysis
from ..values import count, finite, usable, why_not
from . import style
from .frame import explain, heading, steps
from .lines import line
from .panel import Panel
from .style import Look

if TYPE_CHECKING:
    from matplotlib.axes import Axes

TITLE = "Mutual information I(State; Correct)"
ABSENT = "Not computed: asked for without it (--no-mi)"
LEVEL = 0.05
BEYOND = "mi_beyond/logistic"
BANDS = 2  # curves with a band; more of them would hide each other

COLOURS = (
    style.INK,
    style.CORRECT,
    style.COMMITTED,
    style.OCHRE,
    style.MASKED,
    style.EXTRA,
    style.SKY,
    style.GREY,
)
DASHES = ("-", "--", "-.", ":")
WIDTHS = (2.6, 2.0, 2.0, 2.2)
THIN = 1.8


def draw(ax: Axes, analysis: Analysis) -> None:
    """Lines of the estimators, bands around the first, a rug of dots where each is significant."""
    names = _curves(analysis)
    shown = [name for name in names if usable(analysis, name)]
    if not shown:
        explain(ax, TITLE, why_not(analysis, names[0]) if names else ABSENT)
        return
    looks = {name: look_of(place, _label(name)) for place, name in enumerate(shown)}
    for place, name in enumerate(shown):
        line(ax, analysis[name], looks[name], band=place < BANDS)
    if usable(analysis, BEYOND):
        looks[BEYOND] = Look(f"beyond step {_first_step(analysis)}", style.WRONG, "-", 2.8)
        _area(ax, analysis, looks[BEYOND])
    ax.axhline(0, color=style.QUIET, lw=0.9)
    steps(ax, analysis)
    ax.set_ylabel("bits")

    tested = _significance(ax, analysis, looks)
    dots = f" · dots: p ≤ {LEVEL:g}, max-T over steps" if tested else ""
    missing = [_label(name) for name in names if name not in shown]
    without = f" · insufficient: {', '.join(missing)}" if missing else ""
    detail = f"bits · band 95 % · n = {count(analysis[shown[0]])}{dots}{without}"
    heading(ax, finding(analysis, shown[0]), detail, columns=4)


def look_of(place: int, name: str) -> Look:
    """The look of the curve at `place`: another colour for each of the first, then the same colours
    in another dash."""
    rounds = place // len(COLOURS)
    return Look(
        name,
        COLOURS[place % len(COLOURS)],
        DASHES[(place + rounds) % len(DASHES)],
        WIDTHS[place] if place < len(WIDTHS) else THIN,
    )


def finding(analysis: Analysis, name: str) -> str:
    """From which step on curve `name` is significant, and what is so beyond the first step, in one
    line."""
    if not usable(analysis, _p_of(name)):
        return TITLE
    significant = _significant_steps(analysis, name)
    if not significant.size:
        return f"I(State; Correct): nowhere significant ({_label(name)})"
    sentence = f"I(State; Correct) significant from step {significant[0]} ({_label(name)})"
    if not usable(analysis, _p_of(BEYOND)):
        return sentence
    added = _significant_steps(analysis, BEYOND)
    where = f"from step {added[0]}" if added.size else "at no step"
    return f"{sentence}; beyond step {_first_step(analysis)} {where}"


def _curves(analysis: Analysis) -> list[str]:
    """The curves of the analysis that are for this panel, the one shown first in front."""
    hidden = off_dashboard()
    return [
        name
        for name in analysis.quantities
        if name.startswith(("mi/", "mi_size/")) and name not in hidden
    ]


def _label(name: str) -> str:
    kind, _, curve = name.partition("/")
    return f"{curve} (size)" if kind == "mi_size" else curve


def _p_of(name: str) -> str:
    return name.replace("/", "_p/", 1)


def _significant_steps(analysis: Analysis, name: str) -> np.ndarray:
    return np.flatnonzero(analysis[_p_of(name)].values <= LEVEL)


def _first_step(analysis: Analysis) -> int:
    facts = analysis.info.get("mutual_information", {}).get("beyond_first_step", {})
    return int(facts.get("first_step", 0))


def _area(ax: Axes, analysis: Analysis, look: Look) -> None:
    quantity = analysis[BEYOND]
    shown = finite(quantity)
    values = quantity.values[shown]
    ax.fill_between(shown, 0, values, color=look.colour, alpha=0.35, lw=0, zorder=1)
    line(ax, quantity, look)


def _significance(ax: Axes, analysis: Analysis, looks: dict[str, Look]) -> bool:
    """A row of dots below the curves for each that has p-values; returns whether any has."""
    tested = [name for name in looks if usable(analysis, _p_of(name))]
    low, high = ax.get_ylim()
    pitch = 0.045 * (high - low)
    for row, name in enumerate(tested):
        dots = _significant_steps(analysis, name)
        if not dots.size:  # an empty line without clipping would mark the picture's corner
            continue
        y = np.full(len(dots), low - (row + 0.7) * pitch)
        ax.plot(dots, y, "o", ms=3.6, color=looks[name].colour, clip_on=False)

    ax.set_yticks([tick for tick in ax.get_yticks() if low <= tick <= high])
    ax.set_ylim(low - (len(tested) + 0.5) * pitch if tested else low, high)
    return bool(tested)


PANEL = Panel(TITLE, draw)
