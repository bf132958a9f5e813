"""The common look of every panel: colours, lines with their band, block boundaries, headings, and
the "no data" sheet.

Knows matplotlib axes and `Quantity`, not what any quantity means. Colours are Okabe and Ito's,
which stay apart for colour-blind readers; every pair that shares a panel also differs in line
style. Text from outside (model names, warnings) goes through `plain`, because a missing glyph or a
stray `$` must not spoil a picture.
"""

from __future__ import annotations

import math
from functools import cache
from typing import TYPE_CHECKING, Any, NamedTuple, cast

import numpy as np

from ...results import Analysis, Quantity

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.axis import Axis
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

INK = "#1f2328"
QUIET = "#59636e"
RULE = "#d0d7de"
PAPER = "#f6f8fa"
CORRECT = "#0072B2"
WRONG = "#D55E00"
MASKED = "#CC79A7"
COMMITTED = "#007A5A"
EXTRA = "#E69F00"
SCALE = "cividis"
# points, at the size the dashboard is saved
BODY = 12.0
SMALL = 11.0
TITLE = 14.5

RC: Any = {
    "font.family": "DejaVu Sans",
    "font.size": BODY,
    "axes.edgecolor": QUIET,
    "axes.labelcolor": INK,
    "axes.labelsize": BODY,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.axisbelow": True,
    "grid.color": "#e6eaee",
    "grid.linewidth": 0.8,
    "text.color": INK,
    "xtick.color": QUIET,
    "ytick.color": QUIET,
    "xtick.labelsize": SMALL,
    "ytick.labelsize": SMALL,
    "lines.linewidth": 2.2,
    "lines.solid_capstyle": "round",
    "figure.facecolor": "white",
}
"""Settings for `matplotlib.rc_context` around anything drawn here."""


class Look(NamedTuple):
    """How one line is drawn: its name in the legend, colour, dash pattern, width in points and
    opacity."""

    name: str
    colour: str = INK
    dash: str = "-"
    width: float = 2.2
    alpha: float = 1.0


def finite(quantity: Quantity) -> np.ndarray:
    """Indices of the finite values of a quantity over steps; skipped steps are NaN and left out."""
    return np.flatnonzero(np.isfinite(quantity.values))


def usable(analysis: Analysis, name: str) -> bool:
    """Whether quantity `name` is there, may be shown as a result, and has at least one finite
    value."""
    return name in analysis and analysis[name].ok and bool(np.isfinite(analysis[name].values).any())


def method_of(analysis: Analysis) -> str:
    """The confidence method from which the analysis read gain, spikes and S-curve."""
    return str(analysis.info.get("settings", {}).get("confidence_method", "answer_slot"))


def why_not(analysis: Analysis, name: str) -> str:
    """One plain sentence about why `name` cannot be shown."""
    if name not in analysis:
        return f"{name} is not part of this analysis"
    quantity = analysis[name]
    return (
        quantity.status
        if not quantity.ok
        else f"{name} has no finite value in this run, as with a single step"
    )


def half_width(quantity: Quantity) -> np.ndarray:
    """Half the 95 % interval of a mean, Student's t with n - 1 degrees of freedom; NaN where n < 2
    or undefined."""
    if quantity.stderr is None:
        return np.full(np.shape(quantity.values), np.nan)
    from scipy.special import stdtrit

    n = np.broadcast_to(np.asarray(quantity.n, dtype=float), np.shape(quantity.values))
    with np.errstate(invalid="ignore"):
        return np.where(n >= 2, stdtrit(np.maximum(n - 1, 1), 0.975), np.nan) * quantity.stderr


def band_of(quantity: Quantity) -> tuple[np.ndarray, np.ndarray]:
    """Lower and upper ends of the 95 % interval: that of a share, else of a mean (`half_width`)."""
    if quantity.interval is not None:
        return quantity.interval[0], quantity.interval[1]
    half = half_width(quantity)
    return quantity.values - half, quantity.values + half


def count(quantity: Quantity) -> int:
    """The number of problems behind a quantity; the largest where it differs by step."""
    return int(np.max(quantity.n)) if np.size(quantity.n) else 0


def line(ax: Axes, quantity: Quantity, look: Look, *, band: bool = False) -> None:
    """Draw a quantity over steps; dots where steps were skipped, so that no lone value
    disappears."""
    at = finite(quantity)
    if not at.size:
        return
    sparse = at.size < 3 or bool((np.diff(at) > 1).any())
    marker: dict[str, Any] = {"marker": "o", "markersize": 3.2} if sparse else {}
    # thin lines never hide the main one
    values = quantity.values[at]
    zorder = 2 + look.width / 10
    ax.plot(
        at,
        values,
        look.dash,
        color=look.colour,
        lw=look.width,
        alpha=look.alpha,
        label=look.name,
        zorder=zorder,
        **marker,
    )
    low, high = (end[at] for end in band_of(quantity))
    if band and np.isfinite(low).any():
        ax.fill_between(at, low, high, color=look.colour, alpha=0.16, lw=0)


def block_starts(analysis: Analysis) -> np.ndarray:
    """Steps at which a new block begins, the first block left out; empty where the run has one
    block."""
    block = np.asarray(analysis.info.get("block", ()))
    return np.flatnonzero(np.diff(block)) + 1 if block.size > 1 else np.array([], dtype=int)


def steps(ax: Axes, analysis: Analysis, *, ticks: int = 9) -> None:
    """Set up the step axis with at most about `ticks` ticks and mark block boundaries by faint
    vertical lines."""
    total = max(int(analysis.info.get("steps", 1)), 1)
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
    """Finding in bold, then what was measured, then the legend: all above the axes, where they hide
    no data."""
    rows = _legend(ax, legend_of or (ax,), columns)
    y = 7.0 + 18.0 * rows
    for text, size, weight, colour in (
        (detail, SMALL, "normal", QUIET),
        (finding, TITLE, "bold", INK),
    ):
        if not text:
            continue
        lines = wrap(ax, plain(text), size, weight=weight)
        ax.annotate(
            "\n".join(lines),
            (0, 1),
            (0, y),
            xycoords="axes fraction",
            textcoords="offset points",
            fontsize=size,
            color=colour,
            fontweight=weight,
            va="bottom",
            linespacing=1.25,
            parse_math=False,
            annotation_clip=False,
            gid="heading",
        )
        y += len(lines) * size * 1.36 + 3


def _legend(ax: Axes, sources: tuple[Axes, ...], columns: int) -> int:
    pairs = [
        pair for source in sources for pair in zip(*source.get_legend_handles_labels(), strict=True)
    ]
    if not pairs:
        return 0
    handles, labels = zip(*pairs, strict=True)
    ax.legend(
        handles,
        labels,
        loc="lower left",
        bbox_to_anchor=(0, 1.0),
        ncol=columns,
        frameon=False,
        fontsize=SMALL,
        borderpad=0,
        borderaxespad=0.35,
        handlelength=1.9,
        columnspacing=1.3,
        handletextpad=0.5,
        labelspacing=0.3,
    )
    return math.ceil(len(labels) / columns)


def figure_of(ax: Axes) -> Figure:
    """The figure that the axes, or the axes they are inset in, stand in. ValueError for axes
    without one."""
    figure = ax.get_figure(root=True)
    if figure is None:
        raise ValueError("these axes belong to no figure; make them with figure.add_subplot")
    return figure


def wrap(
    ax: Axes, text: str, size: float, *, weight: str = "normal", share: float = 1.0
) -> list[str]:
    """Lines of `text` that, set at `size` points, are no wider than `share` of the axes; words are
    kept whole."""
    from matplotlib.font_manager import FontProperties

    font = FontProperties(family="DejaVu Sans", size=size, weight=weight)
    limit = ax.get_window_extent().width * share  # pixels
    renderer = cast("FigureCanvasAgg", figure_of(ax).canvas).get_renderer()
    lines = []
    current = ""
    for word in text.split(" "):
        longer = f"{current} {word}" if current else word
        if current and renderer.get_text_width_height_descent(longer, font, False)[0] > limit:
            lines.append(current)
            longer = word
        current = longer
    return [*lines, current]


def explain(ax: Axes, title: str, message: str) -> None:
    """Stand in for a panel that has nothing to show: its title, and in plain words why."""
    clear(ax)
    ax.set_facecolor(PAPER)
    ax.patch.set_visible(True)
    heading(ax, title, "")
    lines = [
        line for part in message.split("\n") for line in wrap(ax, plain(part), BODY + 1, share=0.86)
    ]
    ax.text(
        0.5,
        0.5,
        "\n".join(lines),
        transform=ax.transAxes,
        ha="center",
        va="center",
        fontsize=BODY + 1,
        color=QUIET,
        linespacing=1.5,
        parse_math=False,
    )


def clear(ax: Axes) -> None:
    """Take ticks, spines and grid away: the axes become a sheet for text or insets."""
    ax.set(xticks=[], yticks=[])
    ax.grid(visible=False)
    ax.spines[:].set_visible(False)
    ax.patch.set_visible(False)


def plain(text: str) -> str:
    """`text` on one line, control characters and those without a glyph replaced by a question
    mark."""
    return "".join(
        character if character in _glyphs() else "?" for character in " ".join(text.split())
    )


@cache
def _glyphs() -> frozenset[str]:
    from unicodedata import category

    from matplotlib.font_manager import FontProperties, findfont, get_font

    known = map(chr, get_font(findfont(FontProperties(family="DejaVu Sans"))).get_charmap())
    return frozenset(character for character in known if category(character)[0] != "C")


def number(value: float, digits: int = 3) -> str:
    """`value` with `digits` significant digits, without an exponent where it can be helped; "–" for
    NaN."""
    if not math.isfinite(value):
        return "–" if math.isnan(value) else str(value)
    if value == 0 or 1e-4 <= abs(value) < 1e5:
        decimals = digits if value == 0 else max(digits - 1 - math.floor(math.log10(abs(value))), 0)
        text = f"{value:.{min(decimals, 6)}f}"
        return text.rstrip("0").rstrip(".") if "." in text else text
    return f"{value:.{digits - 1}e}"


def change(quantity: Quantity, digits: int = 3) -> str:
    """First and last finite value of a quantity over steps: "0.02 → 0.81"."""
    at = finite(quantity)
    return (
        f"{number(quantity.values[at[0]], digits)} → {number(quantity.values[at[-1]], digits)}"
        if at.size
        else "–"
    )
