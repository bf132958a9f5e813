"""Text in pictures: numbers as words, text from outside made harmless, lines broken to fit.

Names of models and warnings of a run go through `plain`: a missing glyph or a stray `$` must not
spoil a picture.
"""

from __future__ import annotations

import math
from functools import cache
from typing import TYPE_CHECKING, Any, cast

from ...results import Analysis
from ..values import course_of

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.backends.backend_agg import RendererAgg
    from matplotlib.figure import Figure

FONT = "DejaVu Sans"


def number(value: float, digits: int = 3) -> str:
    """`value` with `digits` significant digits, without an exponent where it can be helped; "–" for
    NaN."""
    if math.isnan(value):
        return "–"
    if math.isinf(value):
        return str(value)
    if value != 0 and not 1e-4 <= abs(value) < 1e5:
        return f"{value:.{digits - 1}e}"
    decimals = digits
    if value != 0:
        decimals = max(digits - 1 - math.floor(math.log10(abs(value))), 0)
    text = f"{value:.{min(decimals, 6)}f}"
    return text.rstrip("0").rstrip(".") if "." in text else text


def change(analysis: Analysis, name: str, digits: int = 3) -> str:
    """First and last value of quantity `name` over steps (`course_of`): "0.02 → 0.81"; "–" without
    one."""
    course = course_of(analysis, name)
    if course is None:
        return "–"
    return f"{number(course.first, digits)} → {number(course.last, digits)}"


def plain(text: str) -> str:
    """`text` on one line, control characters and those without a glyph replaced by a question
    mark."""
    words = " ".join(text.split())
    return "".join(character if character in _glyphs() else "?" for character in words)


def wrap(
    ax: Axes, text: str, size: float, *, weight: str = "normal", share: float = 1.0
) -> list[str]:
    """Lines of `text` that, set at `size` points, are no wider than `share` of the axes; words are
    kept whole."""
    from matplotlib.font_manager import FontProperties

    font = FontProperties(family=FONT, size=size, weight=weight)
    limit = ax.get_window_extent().width * share  # pixels
    renderer: Any = renderer_of(ax)
    lines = []
    current = ""
    for word in text.split(" "):
        longer = f"{current} {word}" if current else word
        width = renderer.get_text_width_height_descent(longer, font, False)[0]
        if current and width > limit:
            lines.append(current)
            longer = word
        current = longer
    return [*lines, current]


def figure_of(ax: Axes) -> Figure:
    """The figure that the axes, or the axes they are inset in, stand in. ValueError for axes
    without one."""
    figure = ax.get_figure(root=True)
    if figure is None:
        raise ValueError("these axes belong to no figure; make them with figure.add_subplot")
    return figure


def renderer_of(ax: Axes) -> RendererAgg:
    """What measures the texts of the figure that the axes stand in."""
    canvas: Any = figure_of(ax).canvas
    return cast("RendererAgg", canvas.get_renderer())


@cache
def _glyphs() -> frozenset[str]:
    from unicodedata import category

    from matplotlib.font_manager import FontProperties, findfont, get_font

    font = get_font(findfont(FontProperties(family=FONT)))
    characters = map(chr, font.get_charmap())
    return frozenset(character for character in characters if category(character)[0] != "C")
