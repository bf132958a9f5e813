"""The picture of a trade: accuracy over tokens per forward pass, one point a run, one line a
policy."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from ...engine.store.counts import count_text
from ...engine.store.write.results import publish
from ..compare.methods import Method, setting_text
from ..compare.standing import ACCURACY, ACCURACY_CHANGE, TOKENS_PER_FORWARD, Standing
from ..compare.tradeoff import change_text
from .figure import new_figure, png
from .labels import Label, place_labels
from .plots import style
from .plots.frame import explain, heading
from .plots.text import figure_of, plain, renderer_of

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from matplotlib.transforms import Bbox

WIDTH = 11.0  # inches, as all that follows
AXES = (0.8, 0.65, 9.75, 5.2)
"""Left and lower edge, width and height."""
ABOVE = 0.2
TALL = 12.0
COLUMNS = 4
COLOURS = (
    style.CORRECT,
    style.WRONG,
    style.COMMITTED,
    style.MASKED,
    style.EXTRA,
    style.OCHRE,
    style.SKY,
    style.GREY,
)
MARKERS = "osD^vPXh"
MARKER_SIZE = 7.5  # points
LINE_BOX = 6.0  # pixels from one box to the next along a line
DARKER = 0.72
MARGIN = 0.08
"""Room around the data, in shares of its extent."""


class Place(NamedTuple):
    """A run in the picture: tokens per forward pass, accuracy in percent and the ends of its 95 %
    interval."""

    x: float
    y: float
    low: float
    high: float


def draw_tradeoff(rows: Sequence[Standing], methods: Sequence[Method], out: str | Path) -> Path:
    """Write the picture as a PNG to `out` and return its path. Raises OSError if the folder is
    missing or full."""
    from matplotlib import rc_context

    with rc_context(style.RC):
        image = png(lay_out_tradeoff(rows, methods))
    publish(out, image)
    return Path(out)


def lay_out_tradeoff(rows: Sequence[Standing], methods: Sequence[Method]) -> Figure:
    """The picture as a figure; call within `rc_context(style.RC)` for the house look."""
    figure = new_figure(WIDTH, TALL)
    ax = figure.add_axes(_axes_in(TALL))
    places = {}
    for number, row in enumerate(rows):
        place = place_of(row)
        if place is not None:
            places[number] = place
    if not places:
        explain(ax, "Accuracy over tokens per forward pass", "no run has a graded problem")
        _cut_above(figure, ax)
        return figure

    _set_limits(ax, list(places.values()))
    labels = _draw_references(ax, rows, places)
    taken = _boxes(ax, list(places.values()))
    for number in {row.reference for row in rows} & places.keys():
        left, right = ax.get_xlim()
        ends = [places[number]._replace(x=left), places[number]._replace(x=right)]
        taken += _boxes_of_line(ax, ends)
    for number, method in enumerate(methods):
        labels += _draw_method(ax, rows, places, method, number)
        taken += _boxes_of_line(ax, [places[place] for place in method.places if place in places])
    ax.set_xlabel("tokens per forward pass")
    ax.set_ylabel("problems answered correctly, %")
    finding, detail = summary(rows, methods)
    heading(ax, finding, detail, columns=COLUMNS)
    _cut_above(figure, ax)
    place_labels(ax, labels, taken)
    return figure


def _axes_in(height: float) -> tuple[float, float, float, float]:
    """The place of the axes in a figure that is so many inches high, as its shares."""
    left, low, wide, high = AXES
    return (left / WIDTH, low / height, wide / WIDTH, high / height)


def _cut_above(figure: Figure, ax: Axes) -> None:
    """Make the figure as high as its heading needs; nothing else moves."""
    renderer = renderer_of(ax)
    tops = [text.get_window_extent(renderer).y1 for text in ax.texts if text.get_gid() == "heading"]
    height = max(tops) / figure.dpi + ABOVE
    figure.set_size_inches(WIDTH, height)
    ax.set_position(_axes_in(height))


def place_of(row: Standing) -> Place | None:
    """Where a run stands; None without an accuracy or a forward pass."""
    accuracy = row.quantities[ACCURACY]
    tokens = row.quantities[TOKENS_PER_FORWARD]
    if not accuracy.ok or not tokens.ok or accuracy.interval is None:
        return None
    low, high = accuracy.interval
    return Place(
        x=float(tokens.values),
        y=100 * float(accuracy.values),
        low=100 * float(low),
        high=100 * float(high),
    )


def summary(rows: Sequence[Standing], methods: Sequence[Method]) -> tuple[str, str]:
    """What the picture says, in a sentence: the fastest run whose accuracy is not shown to be lower
    than that of the run it is measured from; and how the picture is read."""
    n = int(rows[0].quantities[ACCURACY].n)
    read = f"bars: 95 % (Wilson) · {count_text(n, 'problem')}"
    fastest = _fastest_without_loss(rows)
    if fastest is None:
        if all(row.strays is None for row in rows):
            return "Accuracy over tokens per forward pass", read
        return "Every other run has lost accuracy", read

    row = rows[fastest]
    name = _long_name(fastest, rows, methods)
    tokens = float(row.quantities[TOKENS_PER_FORWARD].values)
    change = change_text(row.quantities[ACCURACY_CHANGE])
    return (
        f"{name}: {tokens:.1f} tokens a pass, accuracy {change} points",
        f"the fastest run without a shown loss against {rows[row.reference].run.name} (paired, "
        f"95 %) · {read}",
    )


def _fastest_without_loss(rows: Sequence[Standing]) -> int | None:
    best = None
    most = 0.0
    for number, row in enumerate(rows):
        place = place_of(row)
        if row.strays is None or place is None or not row.quantities[ACCURACY_CHANGE].ok:
            continue
        interval = row.quantities[ACCURACY_CHANGE].interval
        if interval is not None and float(interval[1]) >= 0 and place.x > most:
            most = place.x
            best = number
    return best


def _long_name(number: int, rows: Sequence[Standing], methods: Sequence[Method]) -> str:
    for method in methods:
        if number in method.places and number != method.reference and method.settings:
            return f"{method.policy} {setting_text(rows[number], method)}"
    return rows[number].run.name


def _set_limits(ax: Axes, places: Sequence[Place]) -> None:
    """The data with room around it. Accuracies do not begin at 0: differences are what is looked
    for, and the bars say how large they must be."""
    right = max(place.x for place in places)
    left = min(place.x for place in places)
    low = min(place.low for place in places)
    high = max(place.high for place in places)
    across = max(right - left, 0.5) * MARGIN
    up = max(high - low, 1.0) * MARGIN
    ax.set_xlim(left - across, right + 1.5 * across)
    ax.set_ylim(max(low - up, -2.0), min(high + up, 102.0))


def _draw_references(ax: Axes, rows: Sequence[Standing], places: dict[int, Place]) -> list[Label]:
    labels = []
    for number in dict.fromkeys(row.reference for row in rows):
        place = places.get(number)
        if place is None:
            continue
        ax.axhline(place.y, color=style.INK, lw=1.0, ls=(0, (4, 3)), zorder=1)
        _point(ax, place, colour=style.INK, marker="*", size=2 * MARKER_SIZE)
        labels.append(Label(rows[number].run.name, place.x, place.y, style.INK))
    return labels


def _draw_method(
    ax: Axes,
    rows: Sequence[Standing],
    places: dict[int, Place],
    method: Method,
    number: int,
) -> list[Label]:
    """The line of one policy, its points with their intervals; returns the labels."""
    colour = COLOURS[number % len(COLOURS)]
    marker = MARKERS[number % len(MARKERS)]
    drawn = [place for place in method.places if place in places]
    ax.plot(
        [places[place].x for place in drawn],
        [places[place].y for place in drawn],
        color=colour,
        lw=1.3,
        alpha=0.55,
        marker=marker,
        markersize=MARKER_SIZE,
        label=_legend_text(method),
        zorder=2,
    )
    labels = []
    for place in drawn:
        if place != method.reference:
            _point(ax, places[place], colour=colour, marker=marker, size=MARKER_SIZE)
            text = setting_text(rows[place], method)
            labels.append(Label(text, places[place].x, places[place].y, _darker(colour)))
    return labels


def _legend_text(method: Method) -> str:
    name = method.policy or "runs"
    varying = [setting for setting in method.settings if setting != name]
    varies = f" by {', '.join(varying)}" if varying else ""
    text = plain(f"{name}{varies}{_aup_text(method)}")
    return text.replace("$", r"\$")  # a legend would set it as a formula


def _aup_text(method: Method) -> str:
    if not method.aup.ok:
        return ""
    if method.aup.n == 1:
        return ", loses over 5 points"
    return f", AUP {float(method.aup.values):.0f}"


def _point(ax: Axes, place: Place, **look: Any) -> None:
    ax.errorbar(
        [place.x],
        [place.y],
        yerr=[[place.y - place.low], [place.high - place.y]],
        color=look["colour"],
        marker=look["marker"],
        markersize=look["size"],
        elinewidth=1.2,
        capsize=3,
        zorder=3,
    )


def _boxes(ax: Axes, places: Sequence[Place]) -> list[Bbox]:
    """The pixels that markers and error bars cover."""
    from matplotlib.transforms import Bbox

    pixels = figure_of(ax).dpi / 72
    half = MARKER_SIZE * pixels / 2
    boxes = []
    for place in places:
        x, y = ax.transData.transform((place.x, place.y))
        _, low = ax.transData.transform((place.x, place.low))
        _, high = ax.transData.transform((place.x, place.high))
        boxes.append(Bbox.from_extents(x - half, y - half, x + half, y + half))
        boxes.append(Bbox.from_extents(x - 2, low, x + 2, high))
    return boxes


def _boxes_of_line(ax: Axes, places: Sequence[Place]) -> list[Bbox]:
    """Small boxes along the line that joins the places."""
    import numpy as np
    from matplotlib.transforms import Bbox

    boxes = []
    for place, following in zip(places, places[1:], strict=False):
        ends = ax.transData.transform([(place.x, place.y), (following.x, following.y)])
        length = float(np.hypot(*(ends[1] - ends[0])))
        for share in np.linspace(0, 1, max(2, int(length / LINE_BOX))):
            x, y = ends[0] + share * (ends[1] - ends[0])
            boxes.append(Bbox.from_extents(x - 2, y - 2, x + 2, y + 2))
    return boxes


def _darker(colour: str) -> tuple[float, ...]:
    """The colour of a label: that of its point, dark enough for thin letters."""
    from matplotlib.colors import to_rgb

    return tuple(DARKER * part for part in to_rgb(colour))
