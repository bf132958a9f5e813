"""Early exits panel: what each rule for stopping early would have saved and cost.

Counterfactual: the rules are replayed on trajectories that were decoded to the end.
"""

from __future__ import annotations

from itertools import cycle
from typing import TYPE_CHECKING

import numpy as np

from ...results import Analysis, Quantity
from ..values import band_of, count, usable
from . import style
from .frame import heading
from .panel import Panel

if TYPE_CHECKING:
    from matplotlib.axes import Axes

TITLE = "Early exits, replayed"
MARKS = "osD^vP*"
COLOURS = (style.CORRECT, style.EXTRA, style.WRONG, style.MASKED, style.QUIET)


def draw(ax: Axes, analysis: Analysis) -> None:
    """Accuracy against forward passes for each replayed rule, with 95 % bars, and for full
    decoding."""
    rules = _rules(analysis)
    for rule, mark, colour in zip(rules, cycle(MARKS), cycle(COLOURS), strict=False):
        _mark(ax, analysis, rule, mark, colour)
    steps = _steps_of_full(analysis)
    _full_decoding(ax, steps, float(analysis["accuracy"].values))

    ax.set_xlabel("steps with a forward pass, per problem")
    ax.set_ylabel("accuracy")
    ax.set_xlim(-0.02 * steps, 1.03 * steps)
    low, high = ax.get_ylim()
    ax.set_ylim(low - 0.02, high + 0.02)
    n = count(analysis[f"early_exit/{rules[0]}/steps"])
    heading(ax, TITLE, f"counterfactual: read off the exact trajectory · n = {n}")


def _rules(analysis: Analysis) -> list[str]:
    """The replayed rules that have an accuracy, in the order of the analysis."""
    rules = [name.split("/")[1] for name in analysis.quantities if name.startswith("early_exit/")]
    return [
        rule for rule in dict.fromkeys(rules) if usable(analysis, f"early_exit/{rule}/accuracy")
    ]


def _mark(ax: Axes, analysis: Analysis, rule: str, mark: str, colour: str) -> None:
    accuracy = analysis[f"early_exit/{rule}/accuracy"]
    passes = analysis[f"early_exit/{rule}/steps"]
    ax.errorbar(
        float(passes.values),
        float(accuracy.values),
        yerr=_bars(accuracy),
        xerr=_bars(passes),
        fmt=mark,
        ms=9,
        color=colour,
        mfc="white",
        mew=2,
        elinewidth=1.4,
        label=rule.replace("_", " "),
    )


def _steps_of_full(analysis: Analysis) -> float:
    """Steps with a forward pass that a problem took, on average; those of the run in an analysis of
    an earlier version."""
    if usable(analysis, "ends/steps"):
        return float(analysis["ends/steps"].values)
    return float(analysis.info.get("steps", 1))


def _full_decoding(ax: Axes, steps: float, accuracy: float) -> None:
    ax.plot(steps, accuracy, "*", ms=15, color=style.INK, label="full decoding", clip_on=False)


def _bars(quantity: Quantity) -> np.ndarray:
    """[2, 1] how far the 95 % interval reaches below and above the value; 0 where there is none."""
    low, high = band_of(quantity)
    reach = np.array([[quantity.values - low], [high - quantity.values]], np.float64)
    return np.nan_to_num(reach)


PANEL = Panel(TITLE, draw, needs=("early_exit/hindsight/accuracy", "early_exit/*/accuracy"))
