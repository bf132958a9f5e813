"""The metric of metric.py over steps."""

from __future__ import annotations

from matplotlib.axes import Axes

from diffengine.analysis.results import Analysis
from diffengine.analysis.show.plots.frame import heading
from diffengine.analysis.show.plots.lines import Line, lines_panel
from diffengine.analysis.show.plots.panel import Panel
from diffengine.analysis.show.plots.style import Look


def draw(ax: Axes, analysis: Analysis) -> None:
    """One line, mean over problems."""
    lines_panel(ax, analysis, [Line("margin/tightest", Look("tightest"))], label="nats")
    heading(ax, "The tightest margin", "smallest margin of a masked position · nats")


PANEL = Panel("The tightest margin", draw, needs=("margin/tightest",))
