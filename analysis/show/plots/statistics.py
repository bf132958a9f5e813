"""Summary statistics: the run's key figures as a table of text."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import numpy as np

from ...results import Analysis, Quantity
from ...shares import share_of
from . import style
from .information_gain import spikes

if TYPE_CHECKING:
    from matplotlib.axes import Axes

FIRST_TO_LAST = {
    "entropy/all": "Entropy, all positions",
    "entropy/masked": "Entropy, masked positions",
    "kl/all": "KL to the step before",
    "cka/consecutive": "CKA to the step before",
}


def draw_statistics(ax: Axes, analysis: Analysis) -> None:
    """Figures of the run, left the name, right the value with its unit."""
    style.clear(ax)
    pairs = list(rows(analysis))
    n = int(analysis.info.get("n_problems", 0))
    style.heading(ax, "Summary statistics", f"first → last step, mean over problems · n = {n}")
    pitch = min(1.0 / max(len(pairs), 1), 0.085)
    for index, (name, value) in enumerate(pairs):
        y = 1.0 - (index + 0.5) * pitch
        if index % 2 == 0:
            ax.axhspan(y - pitch / 2, y + pitch / 2, color=style.PAPER, zorder=0)
        ax.text(
            0.012,
            y,
            name,
            fontsize=style.SMALL,
            va="center",
            color=style.QUIET,
            transform=ax.transAxes,
        )
        ax.text(
            0.988,
            y,
            style.plain(value),
            fontsize=style.SMALL,
            va="center",
            ha="right",
            transform=ax.transAxes,
            parse_math=False,
        )
    ax.set_ylim(0, 1)


def rows(analysis: Analysis) -> Iterator[tuple[str, str]]:
    """(name, value) of each figure, in reading order."""
    info = analysis.info
    graded = {
        "n_correct": "correct",
        "n_wrong": "wrong",
        "n_unextracted": "no answer found",
        "n_no_gold": "no gold answer",
        "n_ambiguous": "ambiguous number",
    }
    yield "Problems", str(int(info.get("n_problems", 0)))
    yield (
        "Graded",
        ", ".join(f"{n} {word}" for key, word in graded.items() if (n := info.get(key))) or "none",
    )
    yield "Accuracy", _accuracy(analysis)
    yield (
        "Steps × positions",
        f"{int(info.get('steps', 0))} × {int(info.get('gen_length', 0))}, blocks of "
        f"{info.get('block_length', '–')}",
    )
    confidence = {f"confidence/{style.method_of(analysis)}": "Confidence"}
    for name, label in (confidence | FIRST_TO_LAST).items():
        if style.usable(analysis, name):
            unit = analysis[name].units
            yield (
                label,
                style.change(analysis[name]) + (f" {unit}" if unit not in ("1", "") else ""),
            )
    yield from _curve(analysis)
    yield from _emergence(analysis)
    found = spikes(analysis, style.method_of(analysis)) or []
    yield (
        "Spikes at steps",
        ", ".join(str(spike.step) for spike in found[:8]) + (" …" if len(found) > 8 else "")
        if found
        else "none",
    )


def _accuracy(analysis: Analysis) -> str:
    if not style.usable(analysis, "accuracy"):
        return style.why_not(analysis, "accuracy") if "accuracy" in analysis else "not graded"
    return _share(analysis["accuracy"])


def _share(quantity: Quantity) -> str:
    rate = float(quantity.values)
    n = style.count(quantity)
    if quantity.interval is None:
        return f"{100 * rate:.1f} % (n = {n})"
    low, high = (float(end) for end in quantity.interval)
    return f"{100 * rate:.1f} % (95 %: {100 * low:.1f} to {100 * high:.1f}, n = {n})"


def _emergence(analysis: Analysis) -> Iterator[tuple[str, str]]:
    if style.usable(analysis, "emergence/ever_pass"):
        yield "EverPass", _share(analysis["emergence/ever_pass"])
    lm_eval = analysis.info.get("lm_eval")
    if lm_eval:
        for name in ("strict", "flexible"):
            yield f"lm-eval {name}", f"{share_of(lm_eval[name], lm_eval['n'])}, n = {lm_eval['n']}"


def _curve(analysis: Analysis) -> Iterator[tuple[str, str]]:
    curve = analysis.s_curve
    start, end = (
        f"{step}" if step is not None else "never"
        for step in (curve.transition_start, curve.transition_end)
    )
    yield (
        f"Confidence above {curve.threshold_low:g} / {curve.threshold_high:g}",
        f"from step {start} / {end}",
    )
    if curve.model == "constant":
        yield "Logistic midpoint, 10–90 % length", "none (best model constant)"
    elif np.isfinite(curve.midpoint):
        yield (
            "Logistic midpoint, 10–90 % length",
            f"step {curve.midpoint:.1f}, {curve.length_10_90:.1f} steps",
        )
