"""What stands around the data of a panel: step axis, heading with legend, or the sheet that says
why there is nothing to see."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from ...results import Analysis
from ..values import block_starts, steps_shown
from . import style
from .text import figure_of, plain, renderer_of, wrap

if TYPE_CHECKING:
    from matplotlib.artist import Artist
    from matplotlib.axes import Axes
    from matplotlib.axis import Axis
    from matplotlib.legend import Legend

LEGEND_ROW = 18.0  # points
OVERHANG = 0.4  # inches by which a legend may be wider than its axes
LINE_PITCH = 1.36  # line height in font sizes


def steps(ax: Axes, analysis: Analysis, *, ticks: int = 9) -> None:
    """Set up the step axis with at most about `ticks` ticks and mark block boundaries by faint
    vertical lines."""
    total = steps_shown(analysis)
    starts = block_starts(analysis)
    for start in starts:
        ax.axvline(start - 0.5, color="#9aa4af", lw=0.9, ls=(0, (2, 3)), zorder=0.5)

    ax.set_xlim(-0.5 - 0.01 * total, total - 0.5 + 0.01 * total)
    ax.set_xlabel("step (dotted: a new block begins)" if starts.size and ticks > 5 else "step")
    step_ticks(ax.xaxis, analysis, ticks)
    ax.grid(axis="x", visible=False)


def step_ticks(axis: Axis, analysis: Analysis, ticks: int) -> None:
    """Ticks where blocks begin, thinned to about `ticks`; at round steps where the run has one
    block."""
    from matplotlib.ticker import MaxNLocator

    starts = [0, *block_starts(analysis).tolist()]
    if len(starts) > 2:
        axis.set_ticks(starts[:: math.ceil(len(starts) / ticks)])
    else:
        axis.set_major_locator(MaxNLocator(integer=True, nbins=ticks, min_n_ticks=1))


def heading(
    ax: Axes, finding: str, detail: str, *, columns: int = 3, legend_of: tuple[Axes, ...] = ()
) -> None:
    """Finding in bold, then what was measured, then the legend in `columns`: all above the axes,
    where they hide no data. `legend_of`: the axes whose lines it names, if not `ax`."""
    rows = _legend(ax, legend_of or (ax,), columns)
    y = 7.0 + LEGEND_ROW * rows
    if detail:
        y += _above(ax, detail, y, size=style.SMALL, weight="normal", color=style.QUIET)
    if finding:
        _above(ax, finding, y, size=style.TITLE, weight="bold", color=style.INK)


def _above(ax: Axes, text: str, y: float, *, size: float, weight: str, color: str) -> float:
    """Write `text` from `y` points above the axes upwards; returns how many points it takes."""
    lines = wrap(ax, plain(text), size, weight=weight)
    ax.annotate(
        "\n".join(lines),
        (0, 1),
        (0, y),
        xycoords="axes fraction",
        textcoords="offset points",
        fontsize=size,
        color=color,
        fontweight=weight,
        va="bottom",
        linespacing=1.25,
        parse_math=False,
        annotation_clip=False,
        gid="heading",
    )
    return len(lines) * size * LINE_PITCH + 3


def _legend(ax: Axes, sources: tuple[Axes, ...], columns: int) -> int:
    """Draw the legend of all lines of `sources` above `ax`, in fewer columns where so many are too
    wide; returns its number of rows."""
    handles = []
    labels = []
    for source in sources:
        more, names = source.get_legend_handles_labels()
        handles += more
        labels += names
    if not handles:
        return 0

    legend = _legend_in(ax, handles, labels, columns)
    while columns > 1 and _overhang(ax, legend) > OVERHANG:
        columns -= 1
        legend = _legend_in(ax, handles, labels, columns)
    return math.ceil(len(labels) / columns)


def _legend_in(ax: Axes, handles: list[Artist], labels: list[str], columns: int) -> Legend:
    return ax.legend(
        handles,
        labels,
        loc="lower left",
        bbox_to_anchor=(0, 1.0),
        ncol=columns,
        frameon=False,
        fontsize=style.SMALL,
        borderpad=0,
        borderaxespad=0.35,
        handlelength=1.9,
        columnspacing=1.3,
        handletextpad=0.5,
        labelspacing=0.3,
    )


def _overhang(ax: Axes, legend: Legend) -> float:
    """Inches by which the legend is wider than the axes."""
    renderer = renderer_of(ax)
    wider = legend.get_window_extent(renderer).width - ax.get_window_extent(renderer).width
    return wider / figure_of(ax).dpi


def explain(ax: Axes, title: str, message: str) -> None:
    """Stand in for a panel that has nothing to show: its title, and in plain words why."""
    clear(ax)
    ax.set_facecolor(style.PAPER)
    ax.patch.set_visible(True)
    heading(ax, title, "")

    size = style.BODY + 1
    lines = []
    for part in message.split("\n"):
        lines += wrap(ax, plain(part), size, share=0.86)
    ax.text(
        0.5,
        0.5,
        "\n".join(lines),
        transform=ax.transAxes,
        ha="center",
        va="center",
        fontsize=size,
        color=style.QUIET,
        linespacing=1.5,
        parse_math=False,
    )


def clear(ax: Axes) -> None:
    """Take ticks, spines and grid away: the axes become a sheet for text or insets."""
    ax.set(xticks=[], yticks=[])
    ax.grid(visible=False)
    ax.spines[:].set_visible(False)
    ax.patch.set_visible(False)
