"""The dashboard in one picture, and every panel as a picture of its own.

Reads only an `Analysis`; knows no run, no model. Pictures are drawn in memory and put in place
complete or not at all.
"""

from __future__ import annotations

import io
from pathlib import Path
from typing import TYPE_CHECKING

from ...engine.store.disk import make_directory
from ..publish import publish
from ..registry import confidence_methods
from ..results import Analysis
from .plots import BY_METHOD, PANELS, load_panel, style
from .summary_dataset import whole_text

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

DPI = 110
HEADER_NUMBERS = ("n_problems", "n_correct", "n_wrong", "steps", "gen_length", "block_length")
ROWS: tuple[tuple[tuple[str, int], ...], ...] = (
    (("cka", 1), ("kl", 1), ("confidence", 1)),
    (("entropy", 1), ("information_gain", 1), ("mutual_information", 1)),
    (("tsne", 2), ("trajectories", 1)),
    (("statistics", 1), ("insights", 2)),
    (("emergence", 1), ("signals", 1), ("exits", 1)),
)
"""The seed's four rows and one of our own: panel and the number of columns it takes, of three."""


def draw_dashboard(analysis: Analysis, out: str | Path) -> Path:
    """Write the four-row dashboard as a PNG to `out` and return its path. OSError if the folder is
    missing or full."""
    out = Path(out)
    publish(out, render_dashboard(analysis))
    return out


def draw_all(analysis: Analysis, out_dir: str | Path) -> list[Path]:
    """Write each panel and the seed's individual pictures into `out_dir` (made if missing); returns
    their paths."""
    out_dir = Path(out_dir)
    make_directory(out_dir)
    pages: dict[str, tuple[tuple[str, str], ...]] = {
        f"panel_{name}.png": ((name, ""),) for name in PANELS
    }
    pages["averaged_diffusion_analysis.png"] = (("cka", ""), ("kl", ""), ("tsne", ""))
    pages["averaged_cka_similarity.png"] = (("cka", ""),)
    pages["averaged_kl_divergence.png"] = (("kl", ""),)
    pages["information_analysis.png"] = (("mutual_information", ""), ("pvi", ""))
    for method in confidence_methods():
        gain = (("confidence", method), ("information_gain", method))
        pages[f"information_gain_analysis_{method}.png"] = gain
        pages[f"comprehensive_mi_analysis_{method}.png"] = (
            *gain,
            ("entropy", ""),
            ("mutual_information", ""),
            ("trajectories", ""),
            ("statistics", ""),
        )
    for name, panels in pages.items():
        publish(out_dir / name, render_page(analysis, panels))
    return [out_dir / name for name in pages]


def render_dashboard(analysis: Analysis) -> bytes:
    """The dashboard as PNG bytes, 2200 x 3135 pixels."""
    from matplotlib import rc_context

    with rc_context(style.RC):
        return _png(lay_out_dashboard(analysis))


def lay_out_dashboard(analysis: Analysis) -> Figure:
    """The dashboard as a figure with an Agg canvas; call within `rc_context(style.RC)` for the
    house look."""
    figure = _figure(20.0, 28.5)
    _header(figure, analysis)
    _caveats(figure, analysis, top=1.02)
    grid = figure.add_gridspec(
        len(ROWS),
        3,
        left=0.045,
        right=0.965,
        top=0.92 - 0.011 * len(caveats(analysis)),
        bottom=0.026,
        hspace=0.56,
        wspace=0.24,
        height_ratios=(1, 1, 1.05, 1.15, 1),
    )
    for row, panels in enumerate(ROWS):
        column = 0
        for name, width in panels:
            load_panel(name)(figure.add_subplot(grid[row, column : column + width]), analysis)
            column += width
    return figure


def render_page(analysis: Analysis, panels: tuple[tuple[str, str], ...]) -> bytes:
    """PNG bytes of some panels, (name, confidence method) each, side by side, at most three in a
    row."""
    from matplotlib import rc_context

    columns = min(len(panels), 3) if len(panels) != 4 else 2
    rows = -(-len(panels) // columns)
    with rc_context(style.RC):
        wide = 11.0 if len(panels) == 1 else 7.4 * columns
        figure = _figure(wide, 6.2 * rows if len(panels) == 1 else 5.8 * rows)
        grid = figure.add_gridspec(
            rows,
            columns,
            left=0.9 / wide,
            right=1 - 0.75 / wide,
            top=1 - 1.35 / figure.get_figheight(),
            bottom=0.62 / figure.get_figheight(),
            wspace=0.3,
            hspace=0.52,
        )
        for index, (name, method) in enumerate(panels):
            ax = figure.add_subplot(grid[divmod(index, columns)])
            _draw(ax, analysis, name, method)
        _caveats(figure, analysis, top=0.06)
        return _png(figure)


def caveats(analysis: Analysis) -> list[str]:
    """What has to stand on every picture: that the run is unfinished, or the analysis older than
    the run."""
    info = analysis.info
    parts = []
    if info.get("unfinished"):
        parts.append(f"{info['unfinished'][:1].upper()}{info['unfinished'][1:]}{whole_text(info)}")
    if info.get("stale"):
        parts.append(f"STALE: {info['stale']}")
    return parts


def _caveats(figure: Figure, analysis: Analysis, *, top: float) -> None:
    """Above everything else on the picture, in the colour of warnings; `top` in inches from the
    upper edge."""
    for row, text in enumerate(caveats(analysis)):
        height = figure.get_figheight()
        figure.text(
            0.9 / figure.get_figwidth(),
            1 - (top + 0.22 * row) / height,
            style.plain(text)[: int(13 * figure.get_figwidth())],
            fontsize=style.BODY,
            fontweight="bold",
            color=style.WRONG,
            va="top",
            parse_math=False,
        )


def _draw(ax: Axes, analysis: Analysis, name: str, method: str) -> None:
    if name in BY_METHOD:
        load_panel(name)(ax, analysis, method=method or None)
    else:
        load_panel(name)(ax, analysis)


def _figure(width: float, height: float) -> Figure:
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width, height), dpi=DPI)
    FigureCanvasAgg(figure)
    return figure


def _png(figure: Figure) -> bytes:
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=DPI)
    return buffer.getvalue()


def _header(figure: Figure, analysis: Analysis) -> None:
    info = analysis.info
    numbers = {key: info.get(key, "–") for key in HEADER_NUMBERS}
    parts = [
        f"model {Path(str(info.get('model', 'not recorded'))).name}",
        "{n_problems} problems: {n_correct} correct, {n_wrong} wrong".format_map(numbers),
        "{steps} steps, {gen_length} positions, blocks of {block_length}".format_map(numbers),
        f"data {Path(str(info['data'])).name}" if info.get("data") else "",
    ]
    title = style.plain(f"Denoising dashboard · {info.get('run', 'run')}")
    figure.text(
        0.045, 0.987, title[:110], fontsize=22, fontweight="bold", va="top", parse_math=False
    )
    figure.text(
        0.045,
        0.974,
        style.plain("   ·   ".join(part for part in parts if part))[:210],
        fontsize=style.BODY + 1,
        color=style.QUIET,
        va="top",
        parse_math=False,
    )
