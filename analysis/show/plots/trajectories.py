"""Normalised trajectories: confidence, certainty, CKA and KL in one picture, each stretched to its
own range.

Only the timing can be compared here: after min-max scaling heights mean nothing.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from ...limits import BLOCKS_DIFFER, undefined
from ...results import Analysis, Quantity
from ..values import count, finite, is_of_blocks, method_of, usable
from . import style
from .frame import explain, heading, steps
from .lines import line, with_n
from .panel import Panel
from .style import Look

if TYPE_CHECKING:
    from matplotlib.axes import Axes

TITLE = "Which quantity moves when"


class Curve(NamedTuple):
    """A quantity, the sign that makes it rise as the answer comes, and its look."""

    quantity: str
    sign: float
    look: Look


CURVES = (
    Curve("confidence/{method}", 1.0, Look("confidence", style.CORRECT, "-", 2.4)),
    Curve("entropy/all", -1.0, Look("1 − entropy", style.WRONG, "--", 2.2)),
    Curve("cka/consecutive", 1.0, Look("CKA to step before", style.COMMITTED, "-.", 1.8)),
    Curve("kl/all", 1.0, Look("KL", style.MASKED, ":", 2.2)),
)


def draw(ax: Axes, analysis: Analysis) -> None:
    """Each curve min-max normalised over its finite steps; a curve that does not vary is left out
    and named."""
    if is_of_blocks(analysis):
        explain(ax, TITLE, undefined(BLOCKS_DIFFER))
        return
    most = int(analysis.info.get("n_problems", 0))
    flat = []
    for name, sign, look in CURVES:
        scaled = _scaled(analysis, name.format(method=method_of(analysis)), sign)
        if scaled is None:
            flat.append(look.name)
        else:
            line(ax, scaled, with_n(look, count(scaled), most))
    if len(flat) == len(CURVES):
        explain(ax, TITLE, "no quantity of this run has two different values over steps")
        return

    steps(ax, analysis)
    ax.set_ylabel("share of its own range")
    ax.set_ylim(-0.03, 1.03)
    without = f" · without {', '.join(flat)} (no range)" if flat else ""
    detail = f"each from its minimum to its maximum · unit 1 · n = {most}{without}"
    heading(ax, TITLE, detail, columns=2)


def _scaled(analysis: Analysis, name: str, sign: float) -> Quantity | None:
    return normalised(analysis[name], sign) if usable(analysis, name) else None


def normalised(quantity: Quantity, sign: float) -> Quantity | None:
    """`sign` times the values, mapped to [0, 1] over the finite steps; None where they do not
    vary."""
    values = sign * quantity.values
    shown = finite(quantity)
    low = values[shown].min()
    high = values[shown].max()
    if not high > low:
        return None
    share = np.asarray((values - low) / (high - low))
    return quantity._replace(values=share, stderr=None, units="1")


PANEL = Panel(TITLE, draw)
