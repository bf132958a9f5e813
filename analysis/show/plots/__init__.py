"""The panels, one file each, and the table that names them.

Adding one of ours is one file and one row: the dashboard draws them in the order of the table and
finds its rows and its height from what they say of themselves. `Panel` tells how a package of
somebody else's adds one. Nothing is imported until a panel is asked for.
"""

from __future__ import annotations

from ....engine.registry import PluginError, Registry
from .panel import Panel

PANELS = Registry(
    "panel",
    {
        "cka": "diffengine.analysis.show.plots.cka:PANEL",
        "kl": "diffengine.analysis.show.plots.kl:PANEL",
        "confidence": "diffengine.analysis.show.plots.confidence:PANEL",
        "entropy": "diffengine.analysis.show.plots.entropy:PANEL",
        "information_gain": "diffengine.analysis.show.plots.information_gain:PANEL",
        "mutual_information": "diffengine.analysis.show.plots.mutual_information:PANEL",
        "pvi": "diffengine.analysis.show.plots.pvi:PANEL",
        "tsne": "diffengine.analysis.show.plots.tsne:PANEL",
        "trajectories": "diffengine.analysis.show.plots.trajectories:PANEL",
        "statistics": "diffengine.analysis.show.plots.statistics:PANEL",
        "insights": "diffengine.analysis.show.plots.insights:PANEL",
        "emergence": "diffengine.analysis.show.plots.emergence:PANEL",
        "answer_information": "diffengine.analysis.show.plots.answer_information:PANEL",
        "signals": "diffengine.analysis.show.plots.signals:PANEL",
        "exits": "diffengine.analysis.show.plots.exits:PANEL",
        "states": "diffengine.analysis.show.plots.states:PANEL",
    },
    group="diffengine.panels",
)


def load_panel(name: str) -> Panel:
    """The panel called `name`, or that a `module:attribute` names outright.

    Raises UnknownNameError, and PluginError for what is no `Panel` or cannot be imported.
    """
    panel = PANELS.load(name)
    if not isinstance(panel, Panel):
        raise PluginError(
            f"panel {name!r} is a {type(panel).__name__}, not a Panel; make it one with "
            "diffengine.analysis.show.plots.panel.Panel(title, draw)"
        )
    return panel
