"""Labels beside points: within the axes, off what is taken, and tied to a point that is far."""

from __future__ import annotations

from matplotlib.text import Text
from matplotlib.transforms import Bbox

from diffengine.analysis.show.figure import new_figure
from diffengine.analysis.show.labels import Label, place_labels


def test_a_label_at_the_edge_stays_within_the_axes() -> None:
    figure = new_figure(4, 3)
    ax = figure.add_axes((0.1, 0.1, 0.8, 0.8))
    corners = [Label("a long name", x, y, "black") for x in (0, 1) for y in (0, 1)]
    placed = place_labels(ax, corners, [])
    frame = ax.get_window_extent()
    for label in placed:
        box = Text.get_window_extent(label, figure.canvas.get_renderer())
        assert frame.x0 <= box.x0 and box.x1 <= frame.x1
        assert frame.y0 <= box.y0 and box.y1 <= frame.y1


def test_a_label_keeps_off_what_is_taken() -> None:
    """Everything to the right of the point is taken."""
    figure = new_figure(4, 3)
    ax = figure.add_axes((0.1, 0.1, 0.8, 0.8))
    x, y = ax.transData.transform((0.5, 0.5))
    taken = Bbox.from_extents(x, y - 500, x + 500, y + 500)
    (label,) = place_labels(ax, [Label("name", 0.5, 0.5, "black")], [taken])
    box = Text.get_window_extent(label, figure.canvas.get_renderer())
    assert box.x1 <= x
