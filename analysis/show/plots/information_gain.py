"""Information gain panel: the step-to-step change of the mean confidence, with its error, and the
spikes among it.

Which steps are spikes is decided by the analysis; here they are marked, filled at a block boundary,
open elsewhere.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from ...results import Analysis, Spike
from . import style

if TYPE_CHECKING:
    from matplotlib.axes import Axes

TITLE = "Information gain"
LABELLED = 6  # spikes whose step is written beside the mark


def draw_information_gain(ax: Axes, analysis: Analysis, *, method: str | None = None) -> None:
    """Bars of `gain/<method>` with 95 % error bars, spikes marked. `method` None: the one the
    analysis used."""
    method = method or style.method_of(analysis)
    name = f"gain/{method}"
    if not style.usable(analysis, name):
        style.explain(ax, TITLE, style.why_not(analysis, name))
        return
    quantity = analysis[name]
    at = style.finite(quantity)
    known = spikes(analysis, method)
    marked = known or []
    colours = [
        style.WRONG if step in {spike.step for spike in marked} else "#8fa3b5" for step in at
    ]
    ax.bar(
        at,
        quantity.values[at],
        width=0.78 * (np.diff(at).min() if at.size > 1 else 1),
        color=colours,
        zorder=2,
    )
    half = style.half_width(quantity)[at]
    if np.isfinite(half).any():
        ax.errorbar(
            at,
            quantity.values[at],
            yerr=np.nan_to_num(half),
            fmt="none",
            ecolor=style.INK,
            elinewidth=1.0,
            zorder=3,
        )
    ax.axhline(0, color=style.QUIET, lw=0.9)
    style.steps(ax, analysis)
    ax.set_ylabel("gain of mean confidence")
    _mark(ax, marked, half=style.half_width(quantity))
    n = style.count(quantity)
    style.heading(
        ax, finding(analysis, known), f"gain of mean {method} per step ± 95 % · n = {n}", columns=3
    )


def spikes(analysis: Analysis, method: str) -> list[Spike] | None:
    """The spikes by the analysis's rule, in order of step; None for a method in which it did not
    look for any."""
    if method != style.method_of(analysis):
        return None
    return sorted(analysis.spikes.get(_rule(analysis), []), key=lambda spike: spike.step)


def finding(analysis: Analysis, marked: list[Spike] | None) -> str:
    """What the panel shows: how many spikes, and the largest; or why none could be told."""
    if marked is None:
        return TITLE
    if analysis.info.get("spike_status", {}).get(_rule(analysis), "ok") != "ok":
        return f"{TITLE}; too few data to tell spikes"
    if not marked:
        return "No spike stands out from the noise"
    largest = max(marked, key=lambda spike: spike.gain)
    count = f"{len(marked)} spikes, largest" if len(marked) > 1 else "One spike"
    return f"{count} at step {largest.step}: +{style.number(largest.gain, 2)}"


def _rule(analysis: Analysis) -> str:
    return str(analysis.info.get("settings", {}).get("spike_rule", "z"))


def _mark(ax: Axes, marked: list[Spike], *, half: np.ndarray) -> None:
    height = np.diff(ax.get_ylim())[0]
    for spike, fill, name in _kinds(marked):
        if spike:
            tops = [one.gain + np.nan_to_num(half[one.step]) + 0.05 * height for one in spike]
            face = style.WRONG if fill else "white"
            ax.plot(
                [one.step for one in spike],
                tops,
                "v",
                ms=8,
                mfc=face,
                mec=style.WRONG,
                mew=1.6,
                ls="none",
                label=name,
                zorder=4,
            )
    for one in _labelled(marked, steps=len(half)):
        y = one.gain + np.nan_to_num(half[one.step]) + 0.05 * height
        ax.annotate(
            str(one.step),
            (one.step, y),
            (0, 7),
            textcoords="offset points",
            ha="center",
            fontsize=style.SMALL,
            color=style.WRONG,
        )
    if marked:
        ax.set_ylim(top=ax.get_ylim()[1] + 0.12 * height)


def _labelled(marked: list[Spike], *, steps: int) -> list[Spike]:
    """The largest spikes, those left out whose label would touch that of a larger one."""
    chosen: list[Spike] = []
    for spike in sorted(marked, key=lambda spike: -spike.gain):
        if all(abs(spike.step - other.step) >= 0.06 * steps for other in chosen):
            chosen.append(spike)
    return chosen[:LABELLED]


def _kinds(marked: list[Spike]) -> tuple[tuple[list[Spike], bool, str], ...]:
    inside = [spike for spike in marked if not spike.at_block_boundary]
    boundary = [spike for spike in marked if spike.at_block_boundary]
    return (boundary, True, "spike at a block boundary"), (inside, False, "spike inside a block")
