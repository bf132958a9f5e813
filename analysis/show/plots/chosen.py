"""Panels chosen for a picture, and how each is drawn.

What goes wrong in a panel of another package leaves a frame that says so and a warning, never a
lost picture. An error in one of ours is a bug and is raised.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from functools import partial
from typing import TYPE_CHECKING, NamedTuple

from ....engine.registry import OURS, PluginError
from ...results import Analysis
from . import PANELS, load_panel
from .frame import explain
from .panel import Panel
from .text import renderer_of

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

logger = logging.getLogger(__name__)

Bounds = tuple[float, float, float, float]
"""Left, bottom, width and height in shares of the figure."""


class Chosen(NamedTuple):
    """A panel by the name under which it was chosen; `method` "": the analysis's confidence."""

    name: str
    panel: Panel
    method: str = ""

    @property
    def is_ours(self) -> bool:
        """Whether the panel is part of this package."""
        return PANELS.row(self.name).package == OURS


def choose(name: str, method: str = "") -> Chosen:
    """The panel `name`; for a stranger's that cannot be used, one that says why, with a warning."""
    try:
        return Chosen(name, load_panel(name), method)
    except PluginError as error:
        if PANELS.row(name).package == OURS:
            raise
        reason = str(error)
    logger.warning("%s", reason)
    return Chosen(name, Panel(name, partial(_say, title=name, reason=reason)))


def fill(figure: Figure, bounds: Bounds, analysis: Analysis, chosen: Chosen) -> list[Axes]:
    """Draw the panel on new axes at `bounds`; returns these, and after them what it added."""
    before = figure.get_children()
    ax = figure.add_axes(bounds)
    if chosen.is_ours:
        chosen.panel.show(ax, analysis, chosen.method)
        return _axes_since(figure, before)

    try:
        chosen.panel.show(ax, analysis, chosen.method)
        for each in _axes_since(figure, before):
            each.draw(renderer_of(each))
    except Exception as error:  # a stranger's panel may raise anything
        said = " ".join(str(error).split())
        reason = f"{_whose(chosen.name)} raised {type(error).__name__}: {said}"
        logger.warning("%s", reason)
        for artist in figure.get_children():
            if artist not in before:
                artist.remove()
        explain(figure.add_axes(bounds), chosen.panel.title, reason)
    return _axes_since(figure, before)


def _say(ax: Axes, _: Analysis, *, title: str, reason: str) -> None:
    explain(ax, title, reason)


def _whose(name: str) -> str:
    row = PANELS.row(name)
    source = f"of {row.package} {row.version}" if row.package else f"from {row.target}"
    return f"panel {name!r} ({source})"


def _axes_since(figure: Figure, before: Sequence[object]) -> list[Axes]:
    return [ax for ax in figure.axes if ax not in before]
