"""Lines over steps with their 95 % bands: one line, and a whole panel of them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from ...results import Analysis, Quantity
from ..values import band_of, count, covered, finite, positions_read, usable
from .frame import steps
from .style import Look

if TYPE_CHECKING:
    from matplotlib.axes import Axes


class Line(NamedTuple):
    """One line of a panel: the quantity over steps, how it is drawn, and whether with its band."""

    quantity: str
    look: Look
    band: bool = False


def lines_panel(
    ax: Axes,
    analysis: Analysis,
    lines: Sequence[Line],
    *,
    label: str,
    ticks: int = 9,
) -> list[str]:
    """Draw those of `lines` that have a value over the step axis, `label` at the y axis; returns
    the names of their quantities."""
    drawn = [entry for entry in lines if usable(analysis, entry.quantity)]
    most = max([count(analysis[entry.quantity]) for entry in drawn], default=0)
    for entry in drawn:
        quantity = analysis[entry.quantity]
        look = with_n(named_by_positions(entry.look, analysis), count(quantity), most)
        line(ax, quantity, look, band=entry.band)
    steps(ax, analysis, ticks=ticks)
    ax.set_ylabel(label)
    return [entry.quantity for entry in drawn]


def named_by_positions(look: Look, analysis: Analysis) -> Look:
    """The look, "all positions" being those that a pass of this run reads."""
    return look._replace(name=look.name.replace("all positions", positions_read(analysis)))


def with_n(look: Look, n: int, most: int) -> Look:
    """The look, with its number of problems in the legend where that is less than half of `most`,
    the one that the panel's heading tells."""
    return look if 2 * n >= most else look._replace(name=f"{look.name} (n = {n})")


def line(ax: Axes, quantity: Quantity, look: Look, *, band: bool = False) -> None:
    """Draw a quantity over steps; dots where steps were skipped, so that no lone value disappears;
    faint and without its band where fewer than half of its problems still run."""
    whole = finite(quantity)
    shown = covered(quantity)
    if not shown.size:
        return
    _faint_end(ax, quantity, look, whole[whole >= shown[-1]])
    skipped = bool((np.diff(shown) > 1).any())
    marker: dict[str, Any] = {"marker": "o", "markersize": 3.2}
    ax.plot(
        shown,
        quantity.values[shown],
        look.dash,
        color=look.colour,
        lw=look.width,
        alpha=look.alpha,
        label=look.name,
        zorder=2 + look.width / 10,  # thin lines never hide the main one
        **(marker if skipped or shown.size < 3 else {}),
    )

    low, high = band_of(quantity)
    if band and np.isfinite(low[shown]).any():
        ax.fill_between(shown, low[shown], high[shown], color=look.colour, alpha=0.16, lw=0)


def _faint_end(ax: Axes, quantity: Quantity, look: Look, rest: np.ndarray) -> None:
    """The line over the steps `rest`, of which the first is the last one that is well covered."""
    if rest.size > 1:
        ax.plot(
            rest,
            quantity.values[rest],
            look.dash,
            color=look.colour,
            lw=0.6 * look.width,
            alpha=0.35,
            zorder=1.5,
        )


def from_zero(ax: Axes) -> None:
    """Let the y axis begin at 0, or below where values do."""
    ax.set_ylim(bottom=min(0.0, ax.get_ylim()[0]))
