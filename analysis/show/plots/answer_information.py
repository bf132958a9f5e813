"""Answer information panel: how many bits of the answer the steps so far have decided, asked of the
model itself by branches.

The curve is I_t = H(A | x_0) - H(A | x_t); it ends where the answer is known, at H(A | x_0), which
is drawn as a level. The share of problems in which one answer has 90 % of the draws has the right
axis, on which 1 stands at that level: nothing and everything decided are where they are for the
curve.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from ....engine.store.counts import count_text
from ...branching.answers import ENTROPY, INFORMATION, LEVEL, SHOWN, WORDS, cannot_tell
from ...results import Analysis, Quantity
from ..values import band_of, count, finite, is_of_blocks, steps_shown, usable, why_not
from . import style
from .frame import explain, heading, steps
from .lines import line
from .panel import Panel
from .style import Look
from .text import number

if TYPE_CHECKING:
    from matplotlib.axes import Axes

TITLE = "Answer information"
ABSENT = (
    "No branches yet. They ask the model itself: from the state at a step, which answers does it "
    "come to, and how much of the answer is decided there?\n"
    "diffengine branch RUN --samples 16\n"
    "diffengine analyze RUN"
)
OF_BLOCKS = "No branches: one begins on a canvas that is whole, and this run goes block by block"
UNREADABLE = "The branches here cannot be used: see the warnings in analysis_summary.txt"

H = f"{ENTROPY}/{SHOWN}"
I_T = f"{INFORMATION}/{SHOWN}"
DECIDED = "decided/nine_tenths"

CURVE = Look("decided, I_t (95 % band)", style.INK, "-", 2.8)
OPEN = Look("open, H(A | x_t) (95 % band)", style.INK, "-", 2.8)
AGREED = Look("90 % of draws agree (right)", style.CORRECT, "--", 2.0)
WHOLE = "all of it, H(A | x_0)"
END = "the end: known"
ABOVE = 1.06  # the highest value of an axis, in parts of what stands at the level


def draw(ax: Axes, analysis: Analysis) -> None:
    """I_t with its band up to the level H(A | x_0); where there is no step 0, H(A | x_t) itself."""
    facts = analysis.info.get("branching")
    if not facts:
        none = OF_BLOCKS if is_of_blocks(analysis) else ABSENT
        explain(ax, TITLE, none if facts is None else UNREADABLE)
        return
    if not usable(analysis, H):
        explain(ax, TITLE, why_not(analysis, H))
        return
    end = steps_shown(analysis)
    level = _level(analysis)
    if usable(analysis, I_T):
        _curve(ax, analysis[I_T], CURVE, end, level)
        ax.axhline(level, color=style.COMMITTED, lw=1.4, ls=(0, (6, 3)), label=WHOLE)
    else:
        _curve(ax, analysis[H], OPEN, end, 0.0)
    steps(ax, analysis)
    low, high = ax.get_xlim()
    ax.set_xlim(low, max(high, 1.02 * end))
    ax.set_ylabel("bits")
    bottom, top = ax.get_ylim()
    ax.set_ylim(min(bottom, -0.02 * level), max(top, ABOVE * level))
    right = _agreed(ax, analysis, end, level)
    heading(ax, finding(analysis), _detail(analysis), columns=2, legend_of=(ax, *right))


def finding(analysis: Analysis) -> str:
    """The step by which half of what there is to decide is decided, or how much is open."""
    if not usable(analysis, I_T):
        return f"{TITLE}: H(A | x_t) from step {finite(analysis[H])[0]} on"
    decided = analysis[I_T]
    whole = float(analysis[H].values[0])
    if not whole > 0:
        return f"{TITLE}: nothing to decide, every draw gives one answer"
    half = [int(step) for step in finite(decided) if decided.values[step] >= whole / 2]
    step = half[0] if half else int(finite(decided)[-1])
    share = 100 * float(decided.values[step]) / whole
    only = "" if half else "only "
    return f"Answer: {only}{share:.0f} % of {number(whole, 2)} bits decided by step {step}"


def _level(analysis: Analysis) -> float:
    """What stands at the height of 1 on the right axis, in bits: the largest H(A | x_t), which at
    step 0 is all there is to decide; 1 where that is 0."""
    entropy = analysis[H].values
    whole = float(entropy[0]) if usable(analysis, I_T) else float(np.nanmax(entropy))
    return whole if whole > 0 else 1.0


def _curve(ax: Axes, quantity: Quantity, look: Look, end: int, last: float) -> None:
    """The curve with its band, and a thin line to the end, where the value is known."""
    line(ax, quantity, look, band=True)
    place = int(finite(quantity)[-1])
    ax.plot(
        [place, end],
        [quantity.values[place], last],
        ":",
        color=look.colour,
        lw=1.6,
        marker="o",
        markersize=5,
        markevery=[1],
        markerfacecolor="white",
        label=END,
    )
    low, high = band_of(quantity)
    shown = finite(quantity)
    errors = np.stack([quantity.values - low, high - quantity.values])[:, shown]
    if shown.size == 1 and np.isfinite(errors).all():  # a band of one step has no width
        ax.errorbar(shown, quantity.values[shown], yerr=errors, color=look.colour, lw=1.2)


def _agreed(ax: Axes, analysis: Analysis, end: int, level: float) -> tuple[Axes, ...]:
    """The share of problems that are decided, on an axis of its own with 1 at the `level`."""
    if not usable(analysis, DECIDED):
        return ()
    quantity = analysis[DECIDED]
    right = ax.twinx()
    line(right, quantity, AGREED)
    place = int(finite(quantity)[-1])
    right.plot([place, end], [quantity.values[place], 1.0], ":", color=AGREED.colour, lw=1.4)
    right.set_ylabel("share of problems", color=AGREED.colour)
    right.tick_params(axis="y", colors=AGREED.colour)
    right.spines["right"].set(visible=True, color=AGREED.colour)
    bottom, top = ax.get_ylim()
    right.set_ylim(bottom / level, top / level)
    right.set_yticks([0.0, 0.25, 0.5, 0.75, 1.0])
    right.grid(visible=False)
    # the main line stands before those of the right axis
    ax.set_zorder(right.get_zorder() + 1)
    ax.patch.set_visible(False)
    return (right,)


def _detail(analysis: Analysis) -> str:
    """What was measured: estimator, R, n, the law, and what cannot be told."""
    facts = analysis.info["branching"]
    parts = [
        f"entropy of {count_text(facts['samples'], 'answer')} a state",
        f"bits, {WORDS[SHOWN]}",
        f"n = {count(analysis[H])}",
        facts["law"],
    ]
    significant = _significant_from(analysis)
    if significant is not None:
        parts.append(f"beyond chance from step {significant}")
    if facts["saturated"]:
        where = ", ".join(map(str, facts["saturated"]))
        parts.append(f"insufficient at step {where}: {cannot_tell(facts['samples'])}")
    if facts["missing"]:
        missing = count_text(facts["missing"], "branch", "branches")
        parts.append(f"unfinished: {missing} missing")
    return " · ".join(parts)


def _significant_from(analysis: Analysis) -> int | None:
    name = f"{INFORMATION}_p/{SHOWN}"
    if not usable(analysis, name):
        return None
    steps_beyond = np.flatnonzero(analysis[name].values <= LEVEL)
    return int(steps_beyond[0]) if steps_beyond.size else None


PANEL = Panel(TITLE, draw)
