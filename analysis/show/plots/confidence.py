"""Confidence panel: how probable the gold answer is at each step, for all, correct and wrong
problems.

The default is the answer slot: the gold tokens at the positions where the answer finally stands.
The original suite's three other methods stand faintly behind it; `softmax_sum` has its own axis
because it is an expected count, not a probability.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from ...results import Analysis
from ..values import count, is_of_blocks, n_of, usable
from . import style
from .frame import heading, steps
from .lines import line
from .panel import Panel
from .style import Look
from .text import change

if TYPE_CHECKING:
    from matplotlib.axes import Axes

TITLE = "Confidence in the gold answer"
MEANING = {
    "answer_slot": "p(gold answer) at the answer slot",
    "answer_slot_per_token": "p per gold token at the answer slot",
    "softmax_sum": "softmax_sum: expected count of gold tokens",
    "max_prob": "max_prob: largest p of a gold token",
    "mean_prob": "mean_prob: mean p of the gold tokens",
}
COUNT = "softmax_sum"
SMALL_BY_CONSTRUCTION = "mean_prob"
FAINT = {
    "max_prob": Look("max_prob", style.GREY, "--", 1.3),
    "mean_prob": Look("mean_prob", style.GREY, ":", 1.6),
}
FAINT_COUNT = Look("softmax_sum (right axis)", style.OCHRE, "-.", 1.3)


def draw(ax: Axes, analysis: Analysis, *, method: str) -> None:
    """Mean confidence by `method` with its 95 % band; for the answer slot also by verdict, other
    methods faintly."""
    quantity = analysis[f"confidence/{method}"]
    line(ax, quantity, Look("all (95 % band)", style.INK, "-", 2.6), band=True)
    legend_of: tuple[Axes, ...] = (ax,)
    if method == "answer_slot":
        _by_verdict(ax, analysis)
        legend_of += _other_methods(ax, analysis)
    steps(ax, analysis)

    unit = "tokens" if method == COUNT else "probability"
    ax.set_ylabel("expected count of gold tokens" if method == COUNT else unit)
    if method not in (COUNT, SMALL_BY_CONSTRUCTION):
        ax.set_ylim(-0.02, 1.02)
    detail = f"{MEANING.get(method, method)} · {unit} · {_n(analysis, method)}"
    heading(
        ax, f"{TITLE}: {change(analysis, f'confidence/{method}', 2)}", detail, legend_of=legend_of
    )


def _by_verdict(ax: Axes, analysis: Analysis) -> None:
    for verdict, colour, dash in (("correct", style.CORRECT, "-"), ("wrong", style.WRONG, "--")):
        name = f"confidence_{verdict}/answer_slot"
        if usable(analysis, name):
            look = Look(f"{verdict} ({count(analysis[name])})", colour, dash, 2.0)
            line(ax, analysis[name], look, band=True)


def _other_methods(ax: Axes, analysis: Analysis) -> tuple[Axes, ...]:
    """The other methods, faintly; returns the right axis where one was drawn."""
    for method, look in FAINT.items():
        if usable(analysis, f"confidence/{method}"):
            line(ax, analysis[f"confidence/{method}"], look)
    if not usable(analysis, f"confidence/{COUNT}"):
        return ()

    right = ax.twinx()
    line(right, analysis[f"confidence/{COUNT}"], FAINT_COUNT)
    right.set_ylabel("expected count (softmax_sum)", color=FAINT_COUNT.colour)
    right.tick_params(axis="y", colors=FAINT_COUNT.colour)
    right.spines["right"].set(visible=True, color=FAINT_COUNT.colour)
    right.set_ylim(bottom=0)
    right.grid(visible=False)
    # the main lines stand before those of the right axis
    ax.set_zorder(right.get_zorder() + 1)
    ax.patch.set_visible(False)
    return (right,)


def _n(analysis: Analysis, method: str) -> str:
    name = f"confidence/{method}"
    if is_of_blocks(analysis):
        return n_of(analysis, name)
    n = count(analysis[name])
    total = int(analysis.info.get("n_problems", 0))
    return f"n = {n}" if n == total or not total else f"n = {n} of {total}"


PANEL = Panel(TITLE, draw, needs=("confidence/{method}",), by_method=True)
