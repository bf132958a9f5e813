"""Answer emergence: when the gold answer is first and lastingly guessed, who can tell early, and
what exits would cost.

Everything is over all problems with a gold answer, beside the final accuracy; early exits are
counterfactual.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from ...results import Analysis, Quantity
from . import style

if TYPE_CHECKING:
    from matplotlib.axes import Axes

TITLE = "Answer emergence"
SIGNALS_TITLE = "Who knows early?"
EXITS_TITLE = "Early exits, replayed"
STATES_TITLE = "States against the last step's"
SHARES = {
    "emergence/first_hit": style.Look("first hit by now", style.EXTRA, "--", 2.2),
    "emergence/stable_hit": style.Look("stable from now on", style.CORRECT, "-", 2.8),
    "emergence/settled": style.Look("settled, right or wrong", "#7a858f", ":", 2.2),
}
SIGNALS = {
    "auroc/answer_confidence": style.Look("answer: confidence", style.INK, "-", 2.6),
    "auroc/answer_margin": style.Look("answer: margin", style.CORRECT, "--", 2.0),
    "auroc/answer_entropy": style.Look("answer: entropy", style.MASKED, "-.", 2.0),
    "auroc/canvas_entropy": style.Look("canvas: entropy", style.WRONG, "-", 2.0),
    "auroc/canvas_kl": style.Look("canvas: KL", style.EXTRA, ":", 2.4),
}
STATES = {
    "rsa/answer_to_final": style.Look("RSA, answer", style.CORRECT, "-", 2.4),
    "rsa/masked_to_final": style.Look("RSA, masked", style.MASKED, "-", 2.0),
    "procrustes/answer_to_final": style.Look("Procrustes, answer", style.CORRECT, "--", 2.0),
    "procrustes/masked_to_final": style.Look("Procrustes, masked", style.MASKED, "--", 1.8),
    "cka_states/answer_to_final": style.Look("CKA, answer", style.CORRECT, ":", 2.2),
    "cka_states/masked_to_final": style.Look("CKA, masked", style.MASKED, ":", 2.0),
}


def draw_emergence(ax: Axes, analysis: Analysis) -> None:
    """Distribution functions of first-hit, stable-hit and settling step, and the final accuracy as
    a level."""
    if not style.usable(analysis, "emergence/stable_hit"):
        style.explain(ax, TITLE, style.why_not(analysis, "emergence/stable_hit"))
        return
    for name, look in SHARES.items():
        if style.usable(analysis, name):
            style.line(ax, analysis[name], look, band=True)
    if style.usable(analysis, "accuracy"):
        rate = float(analysis["accuracy"].values)
        ax.axhline(
            rate,
            color=style.COMMITTED,
            lw=1.4,
            ls=(0, (6, 3)),
            label=f"final accuracy {style.number(rate, 3)}",
        )
    style.steps(ax, analysis)
    ax.set_ylabel("share of problems")
    ax.set_ylim(-0.02, 1.02)
    half = _by_half(analysis)
    n = style.count(analysis["emergence/stable_hit"])
    style.heading(
        ax,
        f"{TITLE}{half}",
        f"gold answer at its place · all problems with gold, n = {n}",
        columns=2,
    )


def draw_signals(ax: Axes, analysis: Analysis) -> None:
    """AUROC against correctness by step, 95 % bands for the first answer and canvas signal."""
    shown = [name for name in SIGNALS if style.usable(analysis, name)]
    if not shown:
        style.explain(ax, SIGNALS_TITLE, style.why_not(analysis, next(iter(SIGNALS))))
        return
    for name in shown:
        style.line(
            ax,
            analysis[name],
            SIGNALS[name],
            band=name in ("auroc/answer_confidence", "auroc/canvas_entropy"),
        )
    ax.axhline(0.5, color=style.QUIET, lw=1.0)
    style.steps(ax, analysis)
    ax.set_ylabel("AUROC (0.5: no idea)")
    n = max(style.count(analysis[name]) for name in shown)
    detail = f"signal that ignores gold against final correctness · band 95 % (DeLong) · n = {n}"
    style.heading(ax, SIGNALS_TITLE, detail, columns=3)


def draw_exits(ax: Axes, analysis: Analysis) -> None:
    """Accuracy against forward passes for each replayed rule, with 95 % bars, and for full
    decoding."""
    rules = [name.split("/")[1] for name in analysis.quantities if name.startswith("early_exit/")]
    rules = [
        rule
        for rule in dict.fromkeys(rules)
        if style.usable(analysis, f"early_exit/{rule}/accuracy")
    ]
    if not rules:
        style.explain(ax, EXITS_TITLE, style.why_not(analysis, "early_exit/hindsight/accuracy"))
        return
    marks = "osD^vP*"
    colours = (style.CORRECT, style.EXTRA, style.WRONG, style.MASKED, style.QUIET)
    for rule, marker, colour in zip(rules, marks, colours, strict=False):
        right = analysis[f"early_exit/{rule}/accuracy"]
        passes = analysis[f"early_exit/{rule}/steps"]
        bars = [_bars(one) for one in (right, passes)]
        ax.errorbar(
            float(passes.values),
            float(right.values),
            yerr=bars[0],
            xerr=bars[1],
            fmt=marker,
            ms=9,
            color=colour,
            mfc="white",
            mew=2,
            elinewidth=1.4,
            label=rule.replace("_", " "),
        )
    steps = int(analysis.info.get("steps", 1))
    full = float(analysis["accuracy"].values)
    ax.plot(steps, full, "*", ms=15, color=style.INK, label="full decoding", clip_on=False)
    ax.set(
        xlabel="forward passes per problem", ylabel="accuracy", xlim=(-0.02 * steps, 1.03 * steps)
    )
    low, high = ax.get_ylim()
    ax.set_ylim(low - 0.02, high + 0.02)
    n = style.count(analysis[f"early_exit/{rules[0]}/steps"])
    detail = f"counterfactual: read off the exact trajectory · n = {n}"
    style.heading(ax, EXITS_TITLE, detail, columns=3)


def draw_states(ax: Axes, analysis: Analysis) -> None:
    """RSA, Procrustes and CKA over problems of each step's states with those of the last step."""
    shown = [name for name in STATES if style.usable(analysis, name)]
    if not shown:
        style.explain(ax, STATES_TITLE, style.why_not(analysis, next(iter(STATES))))
        return
    for name in shown:
        style.line(ax, analysis[name], STATES[name])
    style.steps(ax, analysis)
    ax.set_ylabel("similarity, 1 = same geometry")
    n = max(style.count(analysis[name]) for name in shown)
    style.heading(ax, STATES_TITLE, f"samples are problems, n = {n} · unit 1", columns=3)


def _bars(quantity: Quantity) -> np.ndarray:
    """[2, 1] how far the 95 % interval reaches below and above the value; 0 where there is none."""
    low, high = style.band_of(quantity)
    return np.nan_to_num(np.array([[quantity.values - low], [high - quantity.values]], np.float64))


def _by_half(analysis: Analysis) -> str:
    name = "emergence/stable_hit_by_50"
    if not style.usable(analysis, name):
        return ""
    return f": {100 * float(analysis[name].values):.0f} % stable halfway"
