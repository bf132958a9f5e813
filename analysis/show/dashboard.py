"""The dashboard: every panel of an analysis in one picture.

Which panels there are, and in which order, is the table's matter; how much room each takes is its
own. The picture is drawn in memory and put in place complete or not at all.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING

from ...engine.store.counts import count_text
from ...engine.store.write.results import publish
from ..results import Analysis
from ..wording import blocks_text
from .figure import CAVEAT_PITCH, caveats, png, write, write_caveats
from .layout import lay_out
from .plots import PANELS, load_panel, style
from .plots.chosen import Chosen, choose
from .summary_dataset import problems_text
from .values import steps_text

if TYPE_CHECKING:
    from matplotlib.figure import Figure

# inches from the upper edge
TITLE_TOP = 0.37
DETAILS_TOP = 0.74
CAVEATS_TOP = 1.02

NUMBERS = ("n_problems", "n_correct", "n_wrong", "gen_length")


def draw_dashboard(analysis: Analysis, out: str | Path, *, more: Iterable[str] = ()) -> Path:
    """Write the dashboard as a PNG to `out` and return its path.

    `more` names panels to be drawn after those of the table, also as `module:attribute`. Raises
    OSError if the folder is missing or full, UnknownNameError or PluginError for what is no panel
    in `more`.
    """
    out = Path(out)
    publish(out, render_dashboard(analysis, more=more))
    return out


def render_dashboard(analysis: Analysis, *, more: Iterable[str] = ()) -> bytes:
    """The dashboard as PNG bytes, 2200 pixels wide."""
    from matplotlib import rc_context

    with rc_context(style.RC):
        return png(lay_out_dashboard(analysis, more=more))


def lay_out_dashboard(analysis: Analysis, *, more: Iterable[str] = ()) -> Figure:
    """The dashboard as a figure with an Agg canvas; call within `rc_context(style.RC)` for the
    house look."""
    panels = dashboard_panels(more)
    header = CAVEATS_TOP + CAVEAT_PITCH * len(caveats(analysis))
    figure = lay_out(analysis, panels, header=header)
    _write_header(figure, analysis)
    return figure


def dashboard_panels(more: Iterable[str] = ()) -> list[Chosen]:
    """The panels of the table that belong on the dashboard, ours first, then those named in `more`.

    Raises UnknownNameError or PluginError for what is no panel in `more`.
    """
    panels = [choose(name) for name in PANELS]
    panels = [chosen for chosen in panels if chosen.panel.on_dashboard]
    names = [chosen.name for chosen in panels]
    for name in more:
        if name not in names:
            panels.append(Chosen(name, load_panel(name)))
            names.append(name)
    return panels


def _blocks(analysis: Analysis) -> str:
    return blocks_text(int(analysis.info.get("block_length", 0)))


def _write_header(figure: Figure, analysis: Analysis) -> None:
    info = analysis.info
    title = f"Denoising dashboard · {info.get('run', 'run')}"
    write(figure, title, TITLE_TOP, most=110, fontsize=22, fontweight="bold")

    numbers = {key: str(info.get(key, "–")) for key in NUMBERS}
    parts = [
        f"model {Path(str(info.get('model', 'not recorded'))).name}",
        f"{problems_text(info)}: {numbers['n_correct']} correct, {numbers['n_wrong']} wrong",
        f"{steps_text(analysis)}, {count_text(numbers['gen_length'], 'position')}, "
        f"{_blocks(analysis)}",
    ]
    if info.get("read_offset"):
        parts.append("shifted model")
    if info.get("data"):
        parts.append(f"data {Path(str(info['data'])).name}")
    details = "   ·   ".join(parts)
    write(figure, details, DETAILS_TOP, most=210, fontsize=style.BODY + 1, color=style.QUIET)
    write_caveats(figure, analysis, CAVEATS_TOP)
