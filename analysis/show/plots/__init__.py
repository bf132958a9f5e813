"""The panels of the dashboard, one file each, and the table that names them.

Adding a panel is one file and one row. A panel is a function `draw(ax, analysis)` that fills one
matplotlib axes; those in `BY_METHOD` also take `method=`, the confidence they show. Nothing is
imported until a panel is asked for.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable
from typing import Any

from ...errors import check_named

PANELS: dict[str, str] = {
    "cka": "diffengine.analysis.show.plots.cka:draw_cka",
    "kl": "diffengine.analysis.show.plots.kl:draw_kl",
    "confidence": "diffengine.analysis.show.plots.confidence:draw_confidence",
    "entropy": "diffengine.analysis.show.plots.entropy:draw_entropy",
    "information_gain": "diffengine.analysis.show.plots.information_gain:draw_information_gain",
    "mutual_information": "diffengine.analysis.show.plots.mutual_information:draw_mutual_information",
    "pvi": "diffengine.analysis.show.plots.pvi:draw_pvi",
    "tsne": "diffengine.analysis.show.plots.tsne:draw_tsne",
    "trajectories": "diffengine.analysis.show.plots.trajectories:draw_trajectories",
    "statistics": "diffengine.analysis.show.plots.statistics:draw_statistics",
    "insights": "diffengine.analysis.show.plots.insights:draw_insights",
    "emergence": "diffengine.analysis.show.plots.emergence:draw_emergence",
    "signals": "diffengine.analysis.show.plots.emergence:draw_signals",
    "exits": "diffengine.analysis.show.plots.emergence:draw_exits",
    "states": "diffengine.analysis.show.plots.emergence:draw_states",
}

BY_METHOD = frozenset({"confidence", "information_gain"})


def load_panel(name: str) -> Callable[..., Any]:
    """The drawing function called `name`; ValueError with the known names and the nearest one."""
    check_named("panel", PANELS, name)
    module, _, attribute = PANELS[name].partition(":")
    return getattr(importlib.import_module(module), attribute)
