"""Each panel has a picture of its own, and the original suite's pictures have its names."""

from __future__ import annotations

import importlib.util
import warnings
from pathlib import Path

import pytest

from diffengine.analysis.show import figure, pages
from diffengine.analysis.show.pages import draw_all, render_page
from diffengine.analysis.show.plots import PANELS
from diffengine.analysis.show.plots.chosen import Chosen, choose

_spec = importlib.util.spec_from_file_location(
    "synthetic_analysis", Path(__file__).parents[1].joinpath("synthetic_analysis.py")
)
assert _spec is not None and _spec.loader is not None
synthetic = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(synthetic)


def test_all_plots_include_the_original_suites_file_names(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    drawn: list[list[Chosen]] = []
    monkeypatch.setattr(pages, "render_page", lambda _, panels: drawn.append(panels) or b"picture")
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
    assert {chosen.name for panels in drawn for chosen in panels} == set(PANELS)


@pytest.mark.parametrize(
    "names",
    [
        [("cka", "")],
        [("confidence", "max_prob"), ("information_gain", "max_prob")],
        [(name, "") for name in PANELS],
    ],
)
def test_pages_of_any_number_of_panels(
    names: list[tuple[str, str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(figure, "DPI", 40)
    panels = [choose(name, method) for name, method in names]
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert render_page(synthetic.analysis(), panels)[:4] == b"\x89PNG"
