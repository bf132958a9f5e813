"""Figures drawn in memory, and what stands on every one of them: that the run is unfinished, the
analysis older than the run, or that problems end at different steps."""

from __future__ import annotations

import io
from typing import TYPE_CHECKING, Any

from ..results import Analysis
from .plots import style
from .plots.text import plain
from .summary_dataset import whole_text
from .values import blocks_in_words, ends_in_words

if TYPE_CHECKING:
    from matplotlib.figure import Figure

DPI = 110
CAVEAT_PITCH = 0.22  # inches from one line to the next
LEFT = 0.9  # inches from the edge of the picture to its axes
CHARACTERS_PER_INCH = 13


def new_figure(width: float, height: float) -> Figure:
    """An empty figure with an Agg canvas, in inches; belongs to no window."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width, height), dpi=DPI)
    FigureCanvasAgg(figure)
    return figure


def png(figure: Figure) -> bytes:
    """The figure as PNG bytes."""
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=DPI)
    return buffer.getvalue()


def write(figure: Figure, text: str, top: float, *, most: int, **look: Any) -> None:
    """At most `most` characters of `text`, `top` inches below the upper edge of the figure."""
    x = LEFT / figure.get_figwidth()
    y = 1 - top / figure.get_figheight()
    figure.text(x, y, plain(text)[:most], va="top", parse_math=False, **look)


def caveats(analysis: Analysis) -> list[str]:
    """What has to stand on every picture: that the run is unfinished, the analysis older than the
    run, or that not all problems
    stand behind each step."""
    info = analysis.info
    sentences = []
    if info.get("unfinished"):
        said = f"{info['unfinished'][:1].upper()}{info['unfinished'][1:]}"
        sentences.append(f"{said}{whole_text(info)}")
    if info.get("stale"):
        sentences.append(f"STALE: {info['stale']}")
    return [*sentences, *ends_in_words(analysis), *blocks_in_words(analysis)]


def write_caveats(figure: Figure, analysis: Analysis, top: float) -> None:
    """The caveats in the colour of warnings, from `top` inches below the upper edge downwards."""
    most = int(CHARACTERS_PER_INCH * figure.get_figwidth())
    for row, text in enumerate(caveats(analysis)):
        write(
            figure,
            text,
            top + CAVEAT_PITCH * row,
            most=most,
            fontsize=style.BODY,
            fontweight="bold",
            color=style.WRONG,
        )
