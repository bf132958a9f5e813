"""States panel: how similar the states at each step are to those at the last one, by three
measures."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ...results import Analysis
from ..values import count
from . import style
from .frame import heading
from .lines import Line, lines_panel
from .panel import Panel
from .style import Look

if TYPE_CHECKING:
    from matplotlib.axes import Axes

TITLE = "States against the last step's"
LINES = (
    Line("rsa/answer_to_final", Look("RSA, answer", style.CORRECT, "-", 2.4)),
    Line("rsa/masked_to_final", Look("RSA, masked", style.MASKED, "-", 2.0)),
    Line("procrustes/answer_to_final", Look("Procrustes, answer", style.CORRECT, "--", 2.0)),
    Line("procrustes/masked_to_final", Look("Procrustes, masked", style.MASKED, "--", 1.8)),
    Line("cka_states/answer_to_final", Look("CKA, answer", style.CORRECT, ":", 2.2)),
    Line("cka_states/masked_to_final", Look("CKA, masked", style.MASKED, ":", 2.0)),
)


def draw(ax: Axes, analysis: Analysis) -> None:
    """RSA, Procrustes and CKA over problems of each step's states with those of the last step."""
    names = lines_panel(ax, analysis, LINES, label="similarity, 1 = same geometry")
    n = max(count(analysis[name]) for name in names)
    heading(ax, TITLE, f"samples are problems, n = {n} · unit 1")


PANEL = Panel(TITLE, draw, needs=tuple(line.quantity for line in LINES), on_dashboard=False)
