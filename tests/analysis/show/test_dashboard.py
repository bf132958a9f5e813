"""The dashboard has every panel that asks for it, nothing on it overlaps or is cut off, and a failure
leaves the old picture."""

from __future__ import annotations

import importlib.util
import itertools
import warnings
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from matplotlib.transforms import Bbox

from diffengine.analysis.show import dashboard, figure, layout
from diffengine.analysis.show.dashboard import (
    dashboard_panels,
    draw_dashboard,
    lay_out_dashboard,
)
from diffengine.analysis.show.layout import rows_of
from diffengine.analysis.show.plots import PANELS, load_panel, style
from diffengine.analysis.show.plots.chosen import Chosen
from diffengine.analysis.show.plots.panel import COLUMNS, Panel

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
    renderer = figure.canvas.get_renderer()
    for ax in figure.axes:
        corner = tuple(ax.get_window_extent(renderer).min.round(3))  # that of a twin is the same
        panels.setdefault(corner, []).append(ax.get_tightbbox(renderer))
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


def _drawn(analysis: Any, **choices: Any) -> Any:
    from matplotlib import rc_context

    with rc_context(style.RC):
        drawn = lay_out_dashboard(analysis, **choices)
        drawn.draw_without_rendering()
    return drawn


def _check_room(drawn: Any) -> None:
    """No text and no panel overlaps another, and nothing leaves the picture."""
    boxes = _boxes(drawn)
    for parts in (boxes, _panels(drawn)):
        pairs = itertools.combinations(parts, 2)
        assert [pair for pair in pairs if _overlap(pair[0][1], pair[1][1])] == []
    width, height = drawn.bbox.width, drawn.bbox.height
    assert [
        text for text, box in boxes if box.x0 < 0 or box.y0 < 0 or box.x1 > width or box.y1 > height
    ] == []


@pytest.mark.parametrize("case", synthetic.EDGE_CASES)
def test_no_text_overlaps_another_or_leaves_the_picture(case: str) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        drawn = _drawn(synthetic.analysis(**synthetic.EDGE_CASES[case]))
    assert len(_boxes(drawn)) > 40
    assert len(_panels(drawn)) == len(dashboard_panels())
    _check_room(drawn)


def test_the_dashboard_has_the_panels_that_ask_for_it_in_the_order_of_the_table() -> None:
    names = [chosen.name for chosen in dashboard_panels()]
    assert names == [name for name in PANELS if load_panel(name).on_dashboard]
    # the original suite's
    assert {"cka", "kl", "confidence", "entropy", "information_gain"} < set(names)
    assert {"mutual_information", "tsne", "trajectories", "statistics", "insights"} < set(names)


def test_rows_are_filled_in_order_and_never_too_wide() -> None:
    widths = (1, 1, 1, 2, 2, 1, 3, 1)
    panels = [Chosen(str(i), Panel("p", print, width=w)) for i, w in enumerate(widths)]
    rows = rows_of(panels)
    places = [[(place.chosen.name, place.column) for place in row.places] for row in rows]
    assert places == [
        [("0", 0), ("1", 1), ("2", 2)],
        [("3", 0)],
        [("4", 0), ("5", 2)],
        [("6", 0)],
        [("7", 0)],
    ]
    for row in rows_of(dashboard_panels()):
        assert sum(place.chosen.panel.width for place in row.places) <= COLUMNS


def test_a_row_is_as_high_as_its_highest_panel() -> None:
    panels = [Chosen("a", Panel("a", print, height=1.5)), Chosen("b", Panel("b", print))]
    (row,) = rows_of(panels)
    assert row.height == 1.5 * layout.PANEL_HEIGHT


def test_the_picture_is_large_enough_to_read_and_grows_with_its_panels(tmp_path: Path) -> None:
    analysis = synthetic.analysis()
    out = draw_dashboard(analysis, tmp_path / "comprehensive_dashboard.png")
    # as many narrow panels as there are columns: one row more, however full the last one was
    outright = [f"diffengine.analysis.show.plots.{name}:PANEL" for name in ("pvi", "kl")]
    higher = draw_dashboard(analysis, tmp_path / "more.png", more=["pvi", *outright])
    assert sorted(path.name for path in tmp_path.iterdir()) == [out.name, higher.name]
    sizes = []
    for path in (out, higher):
        header = path.read_bytes()[:24]
        assert header[:8] == b"\x89PNG\r\n\x1a\n"
        sizes.append((int.from_bytes(header[16:20]), int.from_bytes(header[20:24])))
    (width, height), (same, more) = sizes
    assert width == same == layout.WIDTH * figure.DPI
    row = (layout.ABOVE + layout.PANEL_HEIGHT + layout.BELOW) * figure.DPI
    assert more - height == pytest.approx(row, abs=1)
    assert height > row * len(rows_of(dashboard_panels()))


def test_the_figure_grows_where_headings_need_more_room(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(layout, "ABOVE", 0.1)
    monkeypatch.setattr(layout, "BELOW", 0.1)
    drawn = _drawn(synthetic.analysis())
    _check_room(drawn)
    sizes = {round(ax.get_window_extent().width / figure.DPI, 3) for ax in drawn.axes}
    assert min(sizes) == pytest.approx(layout.COLUMN_WIDTH, abs=1e-3)  # panels keep their size
    heights = {round(ax.get_window_extent().height / figure.DPI, 3) for ax in drawn.axes}
    assert min(heights) == pytest.approx(layout.PANEL_HEIGHT, abs=1e-3)


def test_many_curves_of_long_names_make_room_for_their_legend() -> None:
    analysis = synthetic.analysis()
    curve = analysis["mi/ross"]
    analysis.quantities.update({f"mi/somebodys_estimator_{i}": curve for i in range(14)})
    _check_room(_drawn(analysis))


def test_caveats_stand_above_everything_else() -> None:
    analysis = synthetic.analysis()
    analysis.info.update(unfinished="unfinished: 3 of 203 problems missing", stale="older than it")
    drawn = _drawn(analysis)
    _check_room(drawn)
    texts = [text for text, _ in _boxes(drawn)]
    assert "Unfinished: 3 of 203 problems missing" in texts and "STALE: older than it" in texts


def test_a_shifted_model_is_named_above_everything_else() -> None:
    analysis = synthetic.analysis()
    for offset, said in ((-1, True), (0, False)):
        drawn = _drawn(replace(analysis, info={**analysis.info, "read_offset": offset}))
        texts = [text for text, _ in _boxes(drawn)]
        assert any("shifted model" in text for text in texts) == said


def test_few_answers_of_a_weak_model_leave_room_for_their_numbers() -> None:
    analysis = synthetic.analysis()
    quantities = dict(analysis.quantities)
    for name in ("conditional_entropy/answer_slot", "emergence/settled", "confidence/answer_slot"):
        quantities[name] = quantities[name]._replace(n=np.ones(48, int))
    gain = quantities["gain/answer_slot"]
    quantities["gain/answer_slot"] = gain._replace(values=1e-6 * gain.values, stderr=None)
    _check_room(_drawn(replace(analysis, quantities=quantities, spikes={})))


def test_a_failure_leaves_the_old_picture_and_no_rubbish(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "comprehensive_dashboard.png"
    out.write_bytes(b"old")

    def full(*_: object) -> None:
        raise OSError("No space left on device")

    monkeypatch.setattr(dashboard, "render_dashboard", lambda *_, **__: b"new")
    monkeypatch.setattr("os.replace", full)
    with pytest.raises(OSError, match="No space"):
        draw_dashboard(synthetic.analysis(), out)
    assert out.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [out]
