"""Every panel as a picture of its own, and the original suite's individual pictures under their
names."""

from __future__ import annotations

import re
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING

from ...engine.store.disk import make_directory
from ...engine.store.write.results import publish
from ..registry import confidence_methods
from ..results import Analysis
from .figure import LEFT, new_figure, png, write_caveats
from .plots import PANELS, style
from .plots.chosen import Chosen, choose, fill

if TYPE_CHECKING:
    from matplotlib.figure import Figure

# inches
ALONE = (11.0, 6.2)
AMONG_OTHERS = (7.4, 5.8)
RIGHT = 0.75
TOP = 1.35
BOTTOM = 0.62
CAVEATS_TOP = 0.06

# shares of the axes' size
COLUMN_GAP = 0.3
ROW_GAP = 0.52

PAGES = {
    "averaged_diffusion_analysis.png": ("cka", "kl", "tsne"),
    "averaged_cka_similarity.png": ("cka",),
    "averaged_kl_divergence.png": ("kl",),
    "information_analysis.png": ("mutual_information", "pvi"),
}
"""The original suite's pictures -> their panels."""

GAIN_PAGE = ("confidence", "information_gain")
METHOD_PAGES = {
    "information_gain_analysis_{method}.png": GAIN_PAGE,
    "comprehensive_mi_analysis_{method}.png": (
        *GAIN_PAGE,
        "entropy",
        "mutual_information",
        "trajectories",
        "statistics",
    ),
}
"""The same, once for each confidence method."""


def draw_all(analysis: Analysis, out_dir: str | Path, *, more: Iterable[str] = ()) -> list[Path]:
    """Write each panel and the original suite's pictures into `out_dir` (made if missing); returns
    their paths. `more` names panels beside those of the table. Raises OSError."""
    out_dir = Path(out_dir)
    make_directory(out_dir)
    written = []
    for name, panels in pages(more).items():
        publish(out_dir / name, render_page(analysis, panels))
        written.append(out_dir / name)
    return written


def pages(more: Iterable[str] = ()) -> dict[str, list[Chosen]]:
    """File name -> panels on it."""
    files = {_file_of(name): [choose(name)] for name in (*PANELS, *more)}
    for file, names in PAGES.items():
        files[file] = [choose(name) for name in names]
    for method in confidence_methods():
        for file, names in METHOD_PAGES.items():
            files[file.format(method=method)] = [choose(name, method) for name in names]
    return files


def render_page(analysis: Analysis, panels: list[Chosen]) -> bytes:
    """PNG bytes of some panels side by side, at most three in a row."""
    from matplotlib import rc_context

    with rc_context(style.RC):
        figure = _lay_out(analysis, panels)
        write_caveats(figure, analysis, CAVEATS_TOP)
        return png(figure)


def _lay_out(analysis: Analysis, panels: list[Chosen]) -> Figure:
    columns = 2 if len(panels) == 4 else min(len(panels), 3)
    rows = -(-len(panels) // columns)
    width, height = ALONE if len(panels) == 1 else AMONG_OTHERS
    figure = new_figure(width * columns, height * rows)
    wide = figure.get_figwidth()
    high = figure.get_figheight()
    grid = figure.add_gridspec(
        rows,
        columns,
        left=LEFT / wide,
        right=1 - RIGHT / wide,
        top=1 - TOP / high,
        bottom=BOTTOM / high,
        wspace=COLUMN_GAP,
        hspace=ROW_GAP,
    )
    for index, chosen in enumerate(panels):
        place = grid[divmod(index, columns)].get_position(figure)
        fill(figure, place.bounds, analysis, chosen)
    return figure


def _file_of(panel: str) -> str:
    """The file of a panel's picture; a stranger's name may hold what file names cannot."""
    return f"panel_{re.sub(r'[^A-Za-z0-9_.-]', '_', panel)}.png"
