"""Panels in rows on a figure that finds its own height.

Panels stand in the order given; one that does not fit into a row begins the next. A row is as high
as its highest panel. What stands below the axes of a row and above those of the next never meets:
where it would, the figure grows. All sizes are in inches.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, NamedTuple

from ..results import Analysis
from .figure import LEFT, new_figure
from .plots.chosen import Bounds, Chosen, fill
from .plots.panel import COLUMNS
from .plots.text import renderer_of

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

WIDTH = 20.0
RIGHT = 0.7
PANEL_HEIGHT = 3.385
COLUMN_GAP = 1.27
COLUMN_WIDTH = (WIDTH - LEFT - RIGHT - (COLUMNS - 1) * COLUMN_GAP) / COLUMNS

# room above and below the axes of a row; more where its panels need more
ABOVE = 1.26
BELOW = 0.72
AIR = 0.1


class Place(NamedTuple):
    """A panel and its first column."""

    chosen: Chosen
    column: int


@dataclass
class Row:
    """Panels side by side; all axes that were drawn for them."""

    places: list[Place] = field(default_factory=list)
    axes: list[Axes] = field(default_factory=list)

    @property
    def height(self) -> float:
        """That of the highest panel."""
        return PANEL_HEIGHT * max(place.chosen.panel.height for place in self.places)


@dataclass(frozen=True)
class Spacing:
    """Heights of the rows, and the gaps before, between and after them, from the top."""

    heights: list[float]
    gaps: list[float]

    @property
    def total(self) -> float:
        """Height of the figure."""
        return sum(self.heights) + sum(self.gaps)

    def bottoms(self) -> list[float]:
        """Where each row's axes end, from the lower edge of the figure."""
        bottoms = []
        y = self.total
        for gap, height in zip(self.gaps, self.heights, strict=False):
            y -= gap + height
            bottoms.append(y)
        return bottoms


def rows_of(panels: Sequence[Chosen]) -> list[Row]:
    """The panels dealt out to rows, in order."""
    rows: list[Row] = []
    column = COLUMNS
    for chosen in panels:
        if column + chosen.panel.width > COLUMNS:
            rows.append(Row())
            column = 0
        rows[-1].places.append(Place(chosen, column))
        column += chosen.panel.width
    return rows


def lay_out(analysis: Analysis, panels: Sequence[Chosen], *, header: float) -> Figure:
    """A figure with all `panels` drawn, `header` inches left free at the top."""
    rows = rows_of(panels)
    between = [ABOVE + BELOW] * (len(rows) - 1)
    spacing = Spacing([row.height for row in rows], [header + ABOVE, *between, BELOW])
    figure = new_figure(WIDTH, spacing.total)
    for row, bottom in zip(rows, spacing.bottoms(), strict=True):
        for place in row.places:
            bounds = _bounds(place, bottom, row.height, spacing.total)
            row.axes += fill(figure, bounds, analysis, place.chosen)

    needed = _needed_gaps(figure, rows, header)
    gaps = [max(pair) for pair in zip(spacing.gaps, needed, strict=True)]
    _move(figure, rows, spacing, Spacing(spacing.heights, gaps))
    return figure


def _bounds(place: Place, bottom: float, height: float, total: float) -> Bounds:
    """Where the axes of a panel are, in shares of the figure."""
    columns = place.chosen.panel.width
    left = LEFT + place.column * (COLUMN_WIDTH + COLUMN_GAP)
    width = columns * COLUMN_WIDTH + (columns - 1) * COLUMN_GAP
    return left / WIDTH, bottom / total, width / WIDTH, height / total


def _needed_gaps(figure: Figure, rows: list[Row], header: float) -> list[float]:
    """The gaps in which all that stands above and below the axes finds room."""
    above = []
    below = []
    for row in rows:
        reach = [_reach(ax) for ax in row.axes]
        above.append(max(up for up, _ in reach) / figure.dpi)
        below.append(max(down for _, down in reach) / figure.dpi)
    between = [lower + upper for lower, upper in zip(below, above[1:], strict=False)]
    return [gap + AIR for gap in (header + above[0], *between, below[-1])]


def _reach(ax: Axes) -> tuple[float, float]:
    """Pixels by which what belongs to the axes stands above and below them."""
    renderer = renderer_of(ax)
    box = ax.get_window_extent(renderer)
    whole = ax.get_tightbbox(renderer)
    if whole is None:
        return 0.0, 0.0
    return whole.y1 - box.y1, box.y0 - whole.y0


def _move(figure: Figure, rows: list[Row], old: Spacing, new: Spacing) -> None:
    """Take drawn axes from one spacing to another, their size in inches kept."""
    scale = old.total / new.total
    places = {}
    for row, before, after in zip(rows, old.bottoms(), new.bottoms(), strict=True):
        for ax in row.axes:
            box = ax.get_position(original=True)
            bottom = box.y0 * scale + (after - before) / new.total
            places[ax] = (box.x0, bottom, box.width, box.height * scale)

    figure.set_figheight(new.total)
    for ax, place in places.items():  # all are known first: a twin moves with its axes
        ax.set_position(place)
