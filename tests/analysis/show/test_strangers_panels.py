"""Panels of other packages: drawn after ours, refused with a sentence, and never the end of the
dashboard."""

from __future__ import annotations

import importlib.util
import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner
from matplotlib import rc_context
from matplotlib.text import Text

from diffengine.analysis.show.dashboard import dashboard_panels, draw_dashboard, lay_out_dashboard
from diffengine.analysis.show.pages import pages
from diffengine.analysis.show.plots import PANELS, load_panel, style
from diffengine.analysis.show.plots.panel import COLUMNS, Panel
from diffengine.engine.cli.command_line import group
from diffengine.engine.registry import PluginError, UnknownNameError

_spec = importlib.util.spec_from_file_location(
    "synthetic_analysis", Path(__file__).parents[1].joinpath("synthetic_analysis.py")
)
assert _spec is not None and _spec.loader is not None
synthetic = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(synthetic)

GOOD = """
from diffengine.analysis.show.plots.frame import heading
from diffengine.analysis.show.plots.lines import Line, lines_panel
from diffengine.analysis.show.plots.panel import Panel
from diffengine.analysis.show.plots.style import Look

def draw(ax, analysis):
    lines_panel(ax, analysis, [Line("entropy/all", Look("entropy"))], label="bits")
    heading(ax, "A stranger's entropy", "mean over positions")

PANEL = Panel("A stranger's panel", draw, width=2, needs=("entropy/all",))
"""

RAISES = """
from diffengine.analysis.show.plots.panel import Panel

def draw(ax, analysis):
    ax.plot([0, 1], [0, 1], label="half a line")
    ax.twinx().plot([0, 1], [1, 0])
    ax.figure.suptitle("rubbish")
    {}

PANEL = Panel("A stranger's panel", draw)
"""


@pytest.fixture
def install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], None]:
    """A package `their_panels` 1.2 on the path, with an entry point `theirs`."""

    def make(source: str) -> None:
        info = tmp_path / "their_panels-1.2.dist-info"
        info.mkdir()
        (info / "METADATA").write_text("Metadata-Version: 2.1\nName: their_panels\nVersion: 1.2\n")
        (info / "entry_points.txt").write_text("[diffengine.panels]\ntheirs = their_panels:PANEL\n")
        (tmp_path / "their_panels.py").write_text(source)
        monkeypatch.syspath_prepend(str(tmp_path))
        monkeypatch.setattr(PANELS, "_all", None)
        monkeypatch.delitem(__import__("sys").modules, "their_panels", raising=False)

    return make


def _texts(**choices: Any) -> list[str]:
    with rc_context(style.RC):
        figure = lay_out_dashboard(synthetic.analysis(), **choices)
        figure.draw_without_rendering()
    return [" ".join(text.get_text().split()) for text in figure.findobj(Text)]


def test_an_entry_point_is_drawn_after_ours(install: Callable[[str], None]) -> None:
    ours = [chosen.name for chosen in dashboard_panels()]
    install(GOOD)
    assert [chosen.name for chosen in dashboard_panels()] == [*ours, "theirs"]
    texts = _texts()
    assert "A stranger's entropy" in texts
    assert "panel_theirs.png" in pages()


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ('raise RuntimeError("no such\\nthing")', "RuntimeError: no such thing"),
        # matplotlib reads this only when it draws
        ('ax.set_title("$\\\\frac{a$")', "ValueError: \\frac{a ^ ParseSyntaxException"),
    ],
)
def test_a_panel_that_raises_leaves_a_frame_and_a_warning(
    line: str, said: str, install: Callable[[str], None], caplog: pytest.LogCaptureFixture
) -> None:
    install(RAISES.replace("{}", line))
    with caplog.at_level(logging.WARNING):
        texts = _texts()
    sentence = f"panel 'theirs' (of their_panels 1.2) raised {said}"
    assert sentence in caplog.text
    assert "A stranger's panel" in texts
    assert any(text.startswith(sentence) for text in texts)
    assert not {"half a line", "rubbish"} & set(texts)
    assert "Key insights" in texts


@pytest.mark.parametrize(
    ("source", "said"),
    [
        ("PANEL = 3", "panel 'theirs' is a int, not a Panel"),
        ("OTHER = 3", "module 'their_panels' has no 'PANEL'"),
        ("raise OSError('gone')", "cannot be imported (OSError: gone)"),
        (GOOD.replace("width=2", "width=4"), "is 4 columns wide; use 1 to 3"),
    ],
)
def test_what_is_no_panel_is_refused_and_the_dashboard_says_so(
    source: str, said: str, install: Callable[[str], None], caplog: pytest.LogCaptureFixture
) -> None:
    install(source)
    with pytest.raises(PluginError, match="theirs|their_panels") as refused:
        load_panel("theirs")
    assert said in str(refused.value)
    with caplog.at_level(logging.WARNING):
        texts = _texts()
    assert said in caplog.text
    assert any(said in text for text in texts)


def test_a_panel_named_outright(install: Callable[[str], None], tmp_path: Path) -> None:
    install(GOOD.replace("PANEL =", "MINE ="))
    assert "A stranger's entropy" in _texts(more=["their_panels:MINE"])
    assert "panel_their_panels_MINE.png" in pages(["their_panels:MINE"])
    for name, error in (
        ("their_panels:draw", PluginError),
        ("their_panels:NONE", PluginError),
        ("enttropy", UnknownNameError),
    ):
        with pytest.raises(error):
            draw_dashboard(synthetic.analysis(), tmp_path / "out.png", more=[name])
    assert not (tmp_path / "out.png").exists()


def test_a_panel_is_drawn_once_however_often_it_is_named() -> None:
    names = [chosen.name for chosen in dashboard_panels(["pvi", "cka", "pvi"])]
    assert sorted(names) == sorted(set(names))
    assert names[-1] == "pvi"


def test_the_command_refuses_before_it_computes(tmp_path: Path) -> None:
    done = CliRunner().invoke(group, ["analyze", str(tmp_path), "--panel", "enttropy"])
    assert isinstance(done.exception, UnknownNameError)
    assert "Did you mean 'entropy'?" in str(done.exception)


@pytest.mark.parametrize(
    ("choices", "said"),
    [
        ({"width": COLUMNS + 1}, "columns wide"),
        ({"width": 0}, "columns wide"),
        ({"width": 1.5}, "columns wide"),
        ({"height": 0}, "high; use 1.0"),
        ({"height": float("nan")}, "high; use 1.0"),
        ({"needs": "entropy/all"}, "needs"),
    ],
)
def test_a_panel_that_cannot_be_laid_out_is_refused(choices: dict[str, Any], said: str) -> None:
    with pytest.raises(ValueError, match=said):
        Panel("A panel", lambda ax, analysis: None, **choices)
