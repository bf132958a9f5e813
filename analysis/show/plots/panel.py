"""What a panel is: a picture of some quantities on one matplotlib axes, and the room it takes.

A panel of your own is a file with a `Panel` in it, and an entry point of the group
`diffengine.panels` that names it:

    def draw(ax, analysis):
        lines_panel(ax, analysis, [Line("entropy/all", Look("entropy"))], label="bits")
        heading(ax, "Entropy", "mean over positions · bits")

    PANEL = Panel("Entropy", draw, needs=("entropy/all",))
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING

from ...results import Analysis
from ..values import method_of, usable, why_not
from .frame import explain

if TYPE_CHECKING:
    from matplotlib.axes import Axes

COLUMNS = 3


@dataclass(frozen=True)
class Panel:
    """One panel. `draw(ax, analysis)` fills the axes, heading and legend included, which stand
    above them.

    `width` is in columns of the dashboard's three, `height` in heights of an ordinary panel.
    `needs` names quantities, of which one must have a value, else the frame says why the first has
    none; `mi/*` stands for all that begin so, `{method}` for the confidence method. `by_method`:
    draw also takes `method=`, the confidence that it shows. Raises ValueError for what cannot be
    laid out.
    """

    title: str
    draw: Callable[..., None]
    width: int = 1
    height: float = 1.0
    needs: tuple[str, ...] = ()
    on_dashboard: bool = True
    by_method: bool = False

    def __post_init__(self) -> None:
        if self.width not in range(1, COLUMNS + 1):
            raise ValueError(
                f"panel {self.title!r} is {self.width} columns wide; use 1 to {COLUMNS}"
            )
        if not 0 < self.height < float("inf"):
            raise ValueError(
                f"panel {self.title!r} is {self.height} high; use 1.0 for an ordinary one"
            )
        if isinstance(self.needs, str):
            raise ValueError(
                f"panel {self.title!r} needs {self.needs!r}; name quantities in a tuple, as "
                f"({self.needs!r},)"
            )

    def show(self, ax: Axes, analysis: Analysis, method: str = "") -> None:
        """Draw the panel, or why there is nothing to draw. `method` "": the confidence method that
        the analysis used."""
        method = method or method_of(analysis)
        if missing := self.missing(analysis, method):
            explain(ax, self.title, missing)
        elif self.by_method:
            self.draw(ax, analysis, method=method)
        else:
            self.draw(ax, analysis)

    def missing(self, analysis: Analysis, method: str) -> str:
        """Why there is nothing to draw, in a sentence; "" where there is."""
        names = self._needed(analysis, method)
        if not names or any(usable(analysis, name) for name in names):
            return ""
        return why_not(analysis, names[0])

    def _needed(self, analysis: Analysis, method: str) -> list[str]:
        """`needs` as names of quantities; a pattern that none has stays as it is."""
        names: list[str] = []
        for need in self.needs:
            pattern = need.replace("{method}", method)
            matches = [name for name in analysis.quantities if fnmatchcase(name, pattern)]
            names += matches or [pattern]
        return names
