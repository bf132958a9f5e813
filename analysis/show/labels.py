"""Labels beside points so that none hides a point, an error bar or another label."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple

from .plots import style
from .plots.text import plain, renderer_of

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.text import Annotation
    from matplotlib.transforms import Bbox

ANGLES = (45, 0, 315, 135, 225, 180, 90, 270, 22, 338, 158, 202, 67, 293, 113, 247)
"""Directions from the point in degrees, the best first: to the right of an error bar."""

DISTANCES = (9.0, 16.0, 26.0, 38.0)
"""Points from the middle of the marker to the nearest edge of the label."""

LEADER_FROM = 20.0
"""Distance from which on a thin line ties the label to its point."""


class Label(NamedTuple):
    """A text that belongs to the point (x, y) of the data."""

    text: str
    x: float
    y: float
    colour: str | tuple[float, ...]


class Spot(NamedTuple):
    """A place for a label: its offset from the point in points, how the text is aligned, and how
    far it is."""

    dx: float
    dy: float
    horizontal: str
    vertical: str
    distance: float


def place_labels(ax: Axes, labels: Sequence[Label], taken: Sequence[Bbox]) -> list[Annotation]:
    """Write the labels; each takes the first spot around its point that overlaps none of the
    `taken` boxes (pixels) nor an earlier label and lies within the axes, else the one that overlaps
    least. Call it when the limits of the axes are final."""
    boxes = list(taken)
    placed = []
    for label in labels:
        annotation = _place(ax, label, boxes)
        boxes.append(_extent(ax, annotation))
        placed.append(annotation)
    return placed


def _place(ax: Axes, label: Label, boxes: Sequence[Bbox]) -> Annotation:
    least = math.inf
    best = _spots()[0]
    for spot in _spots():
        trial = _write(ax, label, spot)
        box = _extent(ax, trial)
        trial.remove()
        cost = sum(_overlap(box, other) for other in boxes) + _outside(ax, box)
        if cost < least:
            least = cost
            best = spot
        if cost == 0:
            break
    return _write(ax, label, best)


def _spots() -> list[Spot]:
    spots = []
    for distance in DISTANCES:
        for angle in ANGLES:
            across = math.cos(math.radians(angle))
            up = math.sin(math.radians(angle))
            spots.append(
                Spot(
                    distance * across,
                    distance * up,
                    _aligned(across, "left", "right"),
                    _aligned(up, "bottom", "top"),
                    distance,
                )
            )
    return spots


def _aligned(component: float, ahead: str, behind: str) -> str:
    if component > 0.5:
        return ahead
    return behind if component < -0.5 else "center"


def _write(ax: Axes, label: Label, spot: Spot) -> Annotation:
    leader = None
    if spot.distance >= LEADER_FROM:
        leader = {"arrowstyle": "-", "color": label.colour, "lw": 0.7, "alpha": 0.6}
    return ax.annotate(
        plain(label.text),
        (label.x, label.y),
        (spot.dx, spot.dy),
        textcoords="offset points",
        ha=spot.horizontal,
        va=spot.vertical,
        fontsize=style.SMALL,
        color=label.colour,
        parse_math=False,
        arrowprops=leader,
        gid="point label",
    )


def _extent(ax: Axes, annotation: Annotation) -> Bbox:
    """The box of the text alone, without its leader."""
    from matplotlib.text import Text

    annotation.update_positions(renderer_of(ax))
    return Text.get_window_extent(annotation, renderer_of(ax))


def _overlap(box: Bbox, other: Bbox) -> float:
    """Square pixels that two boxes share."""
    width = min(box.x1, other.x1) - max(box.x0, other.x0)
    height = min(box.y1, other.y1) - max(box.y0, other.y0)
    return float(max(width, 0.0) * max(height, 0.0))


def _outside(ax: Axes, box: Bbox) -> float:
    """Square pixels of a box that lie outside the axes."""
    return float(box.width * box.height) - _overlap(box, ax.get_window_extent())
