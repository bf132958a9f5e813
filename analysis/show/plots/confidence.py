"""Confidence panel: how probable the gold answer is at each step, for all, correct and wrong
problems.

The default is the answer slot: the gold tokens at the positions where the answer finally stands.
The seed's three other methods stand faintly behind it; `softmax_sum` has its own axis because it is
an expected count, not a probability.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from ...results import Analysis
from . import style

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
FAINT = {
    "max_prob": style.Look("max_prob", "#7a858f", "--", 1.3),
    "mean_prob": style.Look("mean_prob", "#7a858f", ":", 1.6),
    "softmax_sum": style.Look("softmax_sum (right axis)", "#9a7b2f", "-.", 1.3),
}


def draw_confidence(ax: Axes, analysis: Analysis, *, method: str | None = None) -> None:
    """Mean confidence by `method` with its 95 % band; for the answer slot also by verdict, other
    methods faintly.

    `method` None: the one the analysis used.
    """
    method = method or style.method_of(analysis)
    name = f"confidence/{method}"
    if not style.usable(analysis, name):
        style.explain(ax, TITLE, style.why_not(analysis, name))
        return
    quantity = analysis[name]
    expected = method == "softmax_sum"
    style.line(ax, quantity, style.Look("all (95 % band)", style.INK, "-", 2.6), band=True)
    right = _company(ax, analysis) if method == "answer_slot" else None
    style.steps(ax, analysis)
    unit = "tokens" if expected else "probability"
    ax.set_ylabel("expected count of gold tokens" if expected else unit)
    if (
        not expected and method != "mean_prob"
    ):  # small by construction: on an axis to 1 it would look flat
        ax.set_ylim(-0.02, 1.02)
    detail = f"{MEANING.get(method, method)} · {unit} · n = {_n(analysis, method)}"
    style.heading(
        ax,
        f"{TITLE}: {style.change(quantity, 2)}",
        detail,
        legend_of=(ax,) if right is None else (ax, right),
    )


def _company(ax: Axes, analysis: Analysis) -> Axes | None:
    """Beside the answer slot: its split by verdict and the other methods; returns the right axis if
    drawn."""
    _by_verdict(ax, analysis)
    right = _others(ax, analysis)
    if right is not None:
        ax.set_zorder(right.get_zorder() + 1)
        ax.patch.set_visible(False)
    return right


def _by_verdict(ax: Axes, analysis: Analysis) -> None:
    for verdict, colour, dash in (("correct", style.CORRECT, "-"), ("wrong", style.WRONG, "--")):
        name = f"confidence_{verdict}/answer_slot"
        if style.usable(analysis, name):
            style.line(
                ax,
                analysis[name],
                style.Look(f"{verdict} ({style.count(analysis[name])})", colour, dash, 2.0),
                band=True,
            )


def _others(ax: Axes, analysis: Analysis) -> Axes | None:
    for method in ("max_prob", "mean_prob"):
        if style.usable(analysis, f"confidence/{method}"):
            style.line(ax, analysis[f"confidence/{method}"], FAINT[method])
    if not style.usable(analysis, "confidence/softmax_sum"):
        return None
    right = ax.twinx()
    style.line(right, analysis["confidence/softmax_sum"], FAINT["softmax_sum"])
    right.set_ylabel("expected count (softmax_sum)", color=FAINT["softmax_sum"].colour)
    right.tick_params(axis="y", colors=FAINT["softmax_sum"].colour)
    right.spines["right"].set(visible=True, color=FAINT["softmax_sum"].colour)
    right.set_ylim(bottom=0)
    right.grid(visible=False)
    return right


def _n(analysis: Analysis, method: str) -> str:
    n = style.count(analysis[f"confidence/{method}"])
    total = int(analysis.info.get("n_problems", 0))
    return str(n) if n == total or not total else f"{n} of {total}"
