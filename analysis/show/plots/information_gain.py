"""Information gain panel: the step-to-step change of the mean confidence, with its error, and the
spikes among it.

Which steps are spikes is decided by the analysis; here they are marked, filled at a block boundary,
open elsewhere.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from ...results import Analysis, Quantity, Spike
from ..values import covered, half_width, n_of, spike_rule, spikes_of
from . import style
from .frame import heading, steps
from .panel import Panel
from .text import number

if TYPE_CHECKING:
    from matplotlib.axes import Axes

TITLE = "Information gain"
LABELLED = 6  # spikes whose step is written beside the mark


def draw(ax: Axes, analysis: Analysis, *, method: str) -> None:
    """Bars of `gain/<method>` with 95 % error bars, spikes marked."""
    quantity = analysis[f"gain/{method}"]
    spikes = spikes_of(analysis, method)
    if spikes is not None:  # those of steps that are drawn
        drawn = set(covered(quantity).tolist())
        spikes = [spike for spike in spikes if spike.step in drawn]
    _bars(ax, quantity, spikes or [])
    steps(ax, analysis)
    ax.set_ylabel("gain of mean confidence")
    # Tiny gains would have their power of ten above the axis, where the heading stands.
    ax.yaxis.set_major_formatter(lambda gain, _: f"{gain:g}".replace("-", "\N{MINUS SIGN}"))
    _mark(ax, spikes or [], half=half_width(quantity))
    detail = f"gain of mean {method} per step ± 95 % · {n_of(analysis, f'gain/{method}')}"
    heading(ax, finding(analysis, spikes), detail)


def finding(analysis: Analysis, spikes: list[Spike] | None) -> str:
    """What the panel shows: how many spikes, and the largest; or why none could be told."""
    if spikes is None:
        return TITLE
    if analysis.info.get("spike_status", {}).get(spike_rule(analysis), "ok") != "ok":
        return f"{TITLE}; too few data to tell spikes"
    if not spikes:
        return "No spike stands out from the noise"
    largest = max(spikes, key=lambda spike: spike.gain)
    number_of = f"{len(spikes)} spikes, largest" if len(spikes) > 1 else "One spike"
    return f"{number_of} at step {largest.step}: +{number(largest.gain, 2)}"


def _bars(ax: Axes, quantity: Quantity, spikes: list[Spike]) -> None:
    shown = covered(quantity)
    values = quantity.values[shown]
    marked = {spike.step for spike in spikes}
    colours = [style.WRONG if step in marked else "#8fa3b5" for step in shown]
    pitch = np.diff(shown).min() if shown.size > 1 else 1
    ax.bar(shown, values, width=0.78 * pitch, color=colours, zorder=2)

    half = half_width(quantity)[shown]
    if np.isfinite(half).any():
        ax.errorbar(
            shown,
            values,
            yerr=np.nan_to_num(half),
            fmt="none",
            ecolor=style.INK,
            elinewidth=1.0,
            zorder=3,
        )
    ax.axhline(0, color=style.QUIET, lw=0.9)


def _mark(ax: Axes, spikes: list[Spike], *, half: np.ndarray) -> None:
    """A triangle above the error bar of each spike, the step beside the largest."""
    if not spikes:
        return
    height = np.diff(ax.get_ylim())[0]
    tops = {
        spike.step: spike.gain + np.nan_to_num(half[spike.step]) + 0.05 * height for spike in spikes
    }
    boundary = [spike.step for spike in spikes if spike.at_block_boundary]
    inside = [spike.step for spike in spikes if not spike.at_block_boundary]
    _triangles(ax, boundary, tops, style.WRONG, "spike at a block boundary")
    in_block = all(spike.at_block_boundary is not None for spike in spikes)
    _triangles(ax, inside, tops, "white", "spike inside a block" if in_block else "spike")

    for spike in _labelled(spikes, steps=len(half)):
        ax.annotate(
            str(spike.step),
            (spike.step, tops[spike.step]),
            (0, 7),
            textcoords="offset points",
            ha="center",
            fontsize=style.SMALL,
            color=style.WRONG,
        )
    ax.set_ylim(top=ax.get_ylim()[1] + 0.12 * height)


def _triangles(ax: Axes, steps: list[int], tops: dict[int, float], face: str, name: str) -> None:
    if steps:
        ax.plot(
            steps,
            [tops[step] for step in steps],
            "v",
            ms=8,
            mfc=face,
            mec=style.WRONG,
            mew=1.6,
            ls="none",
            label=name,
            zorder=4,
        )


def _labelled(spikes: list[Spike], *, steps: int) -> list[Spike]:
    """The largest spikes, those left out whose label would touch that of a larger one."""
    chosen: list[Spike] = []
    for spike in sorted(spikes, key=lambda spike: -spike.gain):
        if all(abs(spike.step - other.step) >= 0.06 * steps for other in chosen):
            chosen.append(spike)
    return chosen[:LABELLED]


PANEL = Panel(TITLE, draw, needs=("gain/{method}",), by_method=True)
