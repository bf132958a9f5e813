"""Mutual information panel: I(State; Correct) by estimator over steps, intervals, and where it is
significant.

Draws every quantity `mi/<estimator>` that the analysis has; significance is `mi_p/<estimator>`
(max-T over steps). The filled area is `mi_beyond/logistic`, what a step adds to the first. Nothing
is clipped: an estimate below zero is drawn there.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from ...results import Analysis
from . import style

if TYPE_CHECKING:
    from matplotlib.axes import Axes

TITLE = "Mutual information I(State; Correct)"
LEVEL = 0.05
BEYOND = "mi_beyond/logistic"
LOOKS = (
    (style.INK, "-", 2.6),
    (style.CORRECT, "--", 2.0),
    (style.COMMITTED, "-.", 2.0),
    ("#9a7b2f", ":", 2.2),
    (style.MASKED, "-", 1.8),
    (style.EXTRA, "--", 1.8),
    ("#56B4E9", "-.", 1.8),
    ("#7a858f", ":", 1.8),
)


def draw_mutual_information(ax: Axes, analysis: Analysis) -> None:
    """Lines of the estimators, a band around the first, a rug of dots where each is significant."""
    names = [
        name
        for name, quantity in analysis.quantities.items()
        if name.startswith("mi/") and _over_steps(quantity)
    ]
    shown = [name for name in names if style.usable(analysis, name)]
    if not shown:
        style.explain(ax, TITLE, _why(analysis, names))
        return
    for name, (colour, dash, width) in zip(shown, LOOKS, strict=False):
        look = style.Look(name.removeprefix("mi/"), colour, dash, width)
        style.line(ax, analysis[name], look, band=name in shown[:2])
    if style.usable(analysis, BEYOND):
        _area(ax, analysis)
        shown = [*shown, BEYOND]
    ax.axhline(0, color=style.QUIET, lw=0.9)
    style.steps(ax, analysis)
    ax.set_ylabel("bits")
    rows = _significance(ax, analysis, shown)
    first = analysis[shown[0]]
    dots = f" · dots: p ≤ {LEVEL:g}, max-T over steps" if rows else ""
    left = [name.removeprefix("mi/") for name in names if name not in shown]
    without = f" · insufficient: {', '.join(left)}" if left else ""
    detail = f"bits · band 95 % · n = {style.count(first)}{dots}{without}"
    style.heading(ax, finding(analysis, shown), detail, columns=4)


def finding(analysis: Analysis, shown: list[str]) -> str:
    """From which step on the first estimator is significant, in one line."""
    name = shown[0].removeprefix("mi/")
    if not style.usable(analysis, f"mi_p/{name}"):
        return TITLE
    at = np.flatnonzero(analysis[f"mi_p/{name}"].values <= LEVEL)
    if not at.size:
        return f"I(State; Correct): nowhere significant ({name})"
    found = f"I(State; Correct) significant from step {at[0]} ({name})"
    if not style.usable(analysis, _p_of(BEYOND)):
        return found
    added = np.flatnonzero(analysis[_p_of(BEYOND)].values <= LEVEL)
    more = f"from step {added[0]}" if added.size else "at no step"
    return f"{found}; beyond step {_first(analysis)} {more}"


def _area(ax: Axes, analysis: Analysis) -> None:
    quantity = analysis[BEYOND]
    at = style.finite(quantity)
    ax.fill_between(at, 0, quantity.values[at], color=style.WRONG, alpha=0.35, lw=0, zorder=1)
    style.line(ax, quantity, style.Look(f"beyond step {_first(analysis)}", style.WRONG, "-", 2.8))


def _first(analysis: Analysis) -> int:
    return int(
        analysis.info.get("mutual_information", {})
        .get("beyond_first_step", {})
        .get("first_step", 0)
    )


def _p_of(name: str) -> str:
    return name.replace("/", "_p/", 1)


def _over_steps(quantity: object) -> bool:
    return getattr(quantity, "dims", ()) == ("step",)


def _why(analysis: Analysis, names: list[str]) -> str:
    if not names:
        return "Not computed: asked for without it (--no-mi)"
    return style.why_not(analysis, names[0])


def _significance(ax: Axes, analysis: Analysis, shown: list[str]) -> int:
    """Rows of dots below the curves, one for each estimator that has p-values; returns how many."""
    tested = [name for name in shown if style.usable(analysis, _p_of(name))]
    low, high = ax.get_ylim()
    pitch = 0.045 * (high - low)
    for row, name in enumerate(tested):
        at = np.flatnonzero(analysis[_p_of(name)].values <= LEVEL)
        colour = style.WRONG if name == BEYOND else LOOKS[shown.index(name) % len(LOOKS)][0]
        if at.size:  # an empty line without clipping would count as a mark at the picture's corner
            ax.plot(
                at,
                np.full(len(at), low - (row + 0.7) * pitch),
                "o",
                ms=3.6,
                color=colour,
                clip_on=False,
            )
    ax.set_yticks([tick for tick in ax.get_yticks() if low <= tick <= high])
    ax.set_ylim(low - (len(tested) + 0.5) * pitch if tested else low, high)
    return len(tested)
