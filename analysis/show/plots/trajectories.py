"""Normalised trajectories: confidence, certainty, CKA and KL in one picture, each stretched to its
own range.

Only the timing can be compared here: after min-max scaling heights mean nothing.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from ...results import Analysis, Quantity
from . import style

if TYPE_CHECKING:
    from matplotlib.axes import Axes

TITLE = "Which quantity moves when"
CONFIDENCE = (1.0, style.Look("confidence", style.CORRECT, "-", 2.4))
CURVES = {
    "entropy/all": (-1.0, style.Look("1 − entropy", style.WRONG, "--", 2.2)),
    "cka/consecutive": (1.0, style.Look("CKA to step before", style.COMMITTED, "-.", 1.8)),
    "kl/all": (1.0, style.Look("KL", style.MASKED, ":", 2.2)),
}


def draw_trajectories(ax: Axes, analysis: Analysis) -> None:
    """Each curve min-max normalised over its finite steps; a curve that does not vary is left out
    and named."""
    flat = []
    curves = {f"confidence/{style.method_of(analysis)}": CONFIDENCE} | CURVES
    for name, (sign, look) in curves.items():
        scaled = normalised(analysis[name], sign) if style.usable(analysis, name) else None
        if scaled is None:
            flat.append(look.name)
        else:
            style.line(ax, scaled, look)
    if len(flat) == len(curves):
        style.explain(ax, TITLE, "no quantity of this run has two different values over steps")
        return
    style.steps(ax, analysis)
    ax.set_ylabel("share of its own range")
    ax.set_ylim(-0.03, 1.03)
    n = int(analysis.info.get("n_problems", 0))
    without = f" · without {', '.join(flat)} (no range)" if flat else ""
    style.heading(
        ax, TITLE, f"each from its minimum to its maximum · unit 1 · n = {n}{without}", columns=2
    )


def normalised(quantity: Quantity, sign: float) -> Quantity | None:
    """`sign` times the values, mapped to [0, 1] over the finite steps; None where they do not
    vary."""
    values = sign * quantity.values
    at = style.finite(quantity)
    low = values[at].min()
    high = values[at].max()
    if not high > low:
        return None
    return quantity._replace(
        values=np.asarray((values - low) / (high - low)), stderr=None, units="1"
    )
