"""The dashboard has the seed's rows, nothing on it overlaps or is cut off, and a failure leaves the
old picture."""

from __future__ import annotations

import importlib.util
import itertools
import warnings
from pathlib import Path
from typing import Any

import pytest
from matplotlib.transforms import Bbox

from diffengine.analysis.show import dashboard
from diffengine.analysis.show.dashboard import (
    ROWS,
    draw_all,
    draw_dashboard,
    lay_out_dashboard,
    render_page,
)
from diffengine.analysis.show.plots import PANELS, style

_spec = importlib.util.spec_from_file_location(
    "synthetic_analysis", Path(__file__).parents[1].joinpath("synthetic_analysis.py")
)
assert _spec is not None and _spec.loader is not None
synthetic = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(synthetic)

SLACK = 1.5  # pixels by which boxes may touch


def _boxes(figure: Any) -> list[tuple[str, Any]]:
    """Every text that is drawn on the dashboard, with its box in pixels."""
    from matplotlib.text import Text

    renderer = figure.canvas.get_renderer()
    ticks = {
        label
        for ax in figure.findobj(match=lambda artist: hasattr(artist, "get_xticklabels"))
        for label in _hidden_ticks(ax)
    }
    texts = [
        text
        for text in figure.findobj(Text)
        if text.get_visible() and text.get_text().strip() and text not in ticks
    ]
    return [(text.get_text(), text.get_window_extent(renderer)) for text in texts]


def _panels(figure: Any) -> list[tuple[str, Any]]:
    """Each panel with the box of all that belongs to it: axes, insets, headings, labels."""
    panels: dict[Any, list[Any]] = {}
    for ax in figure.axes:
        panels.setdefault(ax.get_subplotspec(), []).append(
            ax.get_tightbbox(figure.canvas.get_renderer())
        )
    return [(str(place), Bbox.union(boxes)) for place, boxes in panels.items()]


def _hidden_ticks(ax: Any) -> list[Any]:
    """Tick labels outside the view: matplotlib keeps them without drawing them."""
    hidden = []
    for axis in (ax.xaxis, ax.yaxis):
        low, high = sorted(axis.get_view_interval())
        room = 1e-6 * (high - low)
        hidden += [
            tick.label1
            for tick in axis.get_major_ticks()
            if not low - room <= tick.get_loc() <= high + room
        ]
        hidden += [
            tick.label2
            for tick in axis.get_major_ticks()
            if not low - room <= tick.get_loc() <= high + room
        ]
    return hidden


def _overlap(one: Any, other: Any) -> bool:
    wide = min(one.x1, other.x1) - max(one.x0, other.x0)
    high = min(one.y1, other.y1) - max(one.y0, other.y0)
    return wide > SLACK and high > SLACK


@pytest.mark.parametrize("case", synthetic.EDGE_CASES)
def test_no_text_overlaps_another_or_leaves_the_picture(case: str) -> None:
    from matplotlib import rc_context

    with warnings.catch_warnings(), rc_context(style.RC):
        warnings.simplefilter("error")
        figure = lay_out_dashboard(synthetic.analysis(**synthetic.EDGE_CASES[case]))
        figure.draw_without_rendering()
    boxes = _boxes(figure)
    assert len(boxes) > 40
    assert [
        pair for pair in itertools.combinations(boxes, 2) if _overlap(pair[0][1], pair[1][1])
    ] == []
    panels = _panels(figure)
    assert len(panels) == 13
    assert [
        pair for pair in itertools.combinations(panels, 2) if _overlap(pair[0][1], pair[1][1])
    ] == []
    width, height = figure.bbox.width, figure.bbox.height
    assert [
        text for text, box in boxes if box.x0 < 0 or box.y0 < 0 or box.x1 > width or box.y1 > height
    ] == []


def test_the_first_four_rows_are_the_seeds_and_the_fifth_is_emergence() -> None:
    assert [[name for name, _ in row] for row in ROWS] == [
        ["cka", "kl", "confidence"],
        ["entropy", "information_gain", "mutual_information"],
        ["tsne", "trajectories"],
        ["statistics", "insights"],
        ["emergence", "signals", "exits"],
    ]
    assert [sum(width for _, width in row) for row in ROWS] == [3, 3, 3, 3, 3]
    assert dict(ROWS[2])["tsne"] == 2
    assert {name for row in ROWS for name, _ in row} == set(PANELS) - {
        "states",
        "pvi",
    }  # these come with --plots all


def test_the_picture_is_large_enough_to_read(tmp_path: Path) -> None:
    out = draw_dashboard(synthetic.analysis(), tmp_path / "comprehensive_dashboard.png")
    header = out.read_bytes()[:24]
    assert header[:8] == b"\x89PNG\r\n\x1a\n"
    assert (int.from_bytes(header[16:20]), int.from_bytes(header[20:24])) == (2200, 3135)
    assert [path.name for path in tmp_path.iterdir()] == ["comprehensive_dashboard.png"]


def test_a_failure_leaves_the_old_picture_and_no_rubbish(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "comprehensive_dashboard.png"
    out.write_bytes(b"old")

    def full(*_: object) -> None:
        raise OSError("No space left on device")

    monkeypatch.setattr(dashboard, "render_dashboard", lambda _: b"new")
    monkeypatch.setattr("os.replace", full)
    with pytest.raises(OSError, match="No space"):
        draw_dashboard(synthetic.analysis(), out)
    assert out.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [out]


def test_all_plots_include_the_seeds_file_names(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    drawn: list[tuple[tuple[str, str], ...]] = []
    monkeypatch.setattr(
        dashboard, "render_page", lambda _, panels: drawn.append(panels) or b"picture"
    )
    written = draw_all(synthetic.analysis(), tmp_path / "plots")
    names = {path.name for path in written}
    assert {
        "averaged_diffusion_analysis.png",
        "averaged_cka_similarity.png",
        "averaged_kl_divergence.png",
    } <= names
    for method in ("softmax_sum", "max_prob", "mean_prob", "answer_slot"):
        assert {
            f"information_gain_analysis_{method}.png",
            f"comprehensive_mi_analysis_{method}.png",
        } <= names
    assert {f"panel_{name}.png" for name in PANELS} <= names
    assert {path.name for path in (tmp_path / "plots").iterdir()} == names
    assert {name for panels in drawn for name, _ in panels} == set(PANELS)


@pytest.mark.parametrize(
    "panels",
    [
        (("cka", ""),),
        (("confidence", "max_prob"), ("information_gain", "max_prob")),
        tuple((name, "") for name in PANELS),
    ],
)
def test_pages_of_any_number_of_panels(
    panels: tuple[tuple[str, str], ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(dashboard, "DPI", 40)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert render_page(synthetic.analysis(), panels)[:4] == b"\x89PNG"
