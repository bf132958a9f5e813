"""Each registered panel draws on each edge case, without a warning, and says what it cannot
show."""

from __future__ import annotations

import importlib.util
import warnings
from dataclasses import replace
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest

from diffengine.analysis.results import Analysis, Quantity
from diffengine.analysis.show.plots import PANELS, load_panel
from diffengine.analysis.show.plots.cka import settled
from diffengine.analysis.show.plots.text import number
from diffengine.analysis.show.plots.trajectories import normalised
from diffengine.analysis.show.values import half_width, spikes_of
from diffengine.engine.registry import UnknownNameError


def _load(name: str) -> ModuleType:
    spec = importlib.util.spec_from_file_location(
        name, Path(__file__).parents[1].joinpath(f"{name}.py")
    )
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


synthetic = _load("synthetic_analysis")


def _draw(name: str, analysis: Analysis, method: str = "") -> tuple[object, list[str]]:
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure
    from matplotlib.text import Text

    with warnings.catch_warnings(), np.errstate(all="raise", under="ignore"):
        warnings.simplefilter("error")
        figure = Figure(figsize=(7, 5.5), dpi=50)
        FigureCanvasAgg(figure)
        ax = figure.add_axes((0.12, 0.14, 0.78, 0.6))
        load_panel(name).show(ax, analysis, method)
        figure.draw_without_rendering()
    texts = (text.get_text() for text in figure.findobj(Text))
    return ax, [" ".join(text.split()) for text in texts if text.strip()]


@pytest.fixture(scope="module")
def cases() -> dict[str, Analysis]:
    return {name: synthetic.analysis(**settings) for name, settings in synthetic.EDGE_CASES.items()}


@pytest.mark.parametrize("case", synthetic.EDGE_CASES)
@pytest.mark.parametrize("panel", PANELS)
def test_every_panel_draws_every_case(panel: str, case: str, cases: dict[str, Analysis]) -> None:
    _, texts = _draw(panel, cases[case])
    assert texts
    assert not any("nan" in text.lower().split() for text in texts)


@pytest.mark.parametrize(
    "panel",
    [name for name in PANELS if load_panel(name).needs]
    + ["mutual_information", "tsne", "trajectories"],
)
def test_a_panel_without_its_quantities_says_so(panel: str, cases: dict[str, Analysis]) -> None:
    whole = cases["healthy"]
    info = {name: value for name, value in whole.info.items() if not name.startswith("tsne")}
    bare = Analysis({}, {}, whole.s_curve, [], info=info)
    _, texts = _draw(panel, bare)
    assert any(
        "not part of this analysis" in text or "Not computed" in text or "no quantity" in text
        for text in texts
    )


def test_an_insufficient_quantity_is_not_drawn_but_explained(cases: dict[str, Analysis]) -> None:
    ax, texts = _draw("confidence", cases["no gold answer"])
    assert not ax.lines
    assert any("no problem has a gold answer" in text for text in texts)


@pytest.mark.parametrize("panel", [name for name in PANELS if load_panel(name).by_method])
@pytest.mark.parametrize("method", synthetic.METHODS)
def test_methods(panel: str, method: str, cases: dict[str, Analysis]) -> None:
    ax, texts = _draw(panel, cases["healthy"], method)
    assert any(method in text for text in texts) or method == "answer_slot"
    if (panel, method) == ("confidence", "softmax_sum"):
        assert "expected count" in ax.get_ylabel()


def test_the_softmax_sum_axis_beside_the_answer_slot_says_expected_count(
    cases: dict[str, Analysis],
) -> None:
    ax, _ = _draw("confidence", cases["healthy"])
    labels = [other.get_ylabel() for other in ax.figure.axes if other is not ax]
    assert labels == ["expected count (softmax_sum)"]


def test_titles_name_unit_and_sample_size(cases: dict[str, Analysis]) -> None:
    for panel, unit in {
        "cka": "unit 1",
        "kl": "bits",
        "entropy": "bits",
        "confidence": "probability",
        "trajectories": "unit 1",
    }.items():
        _, texts = _draw(panel, cases["healthy"])
        assert any(unit in text and "n = 200" in text for text in texts), panel


def _legend(ax: Any) -> list[str]:
    return [text.get_text() for text in ax.get_legend().get_texts()]


def test_a_line_over_few_of_the_problems_says_over_how_many(cases: dict[str, Analysis]) -> None:
    healthy = cases["healthy"]
    names = ("conditional_entropy/answer_slot", "emergence/settled", "confidence/answer_slot")
    few = {name: healthy[name]._replace(n=np.full(48, 99)) for name in names}
    many = {name: healthy[name]._replace(n=np.full(48, 100)) for name in names}
    for panel, label in (
        ("entropy", "at the answer"),
        ("emergence", "settled, right or wrong"),
        ("trajectories", "confidence"),
    ):
        ax, _ = _draw(panel, replace(healthy, quantities={**healthy.quantities, **few}))
        assert f"{label} (n = 99)" in _legend(ax)
        ax, _ = _draw(panel, replace(healthy, quantities={**healthy.quantities, **many}))
        assert label in _legend(ax)


def test_the_power_of_ten_of_a_tiny_gain_stands_at_its_ticks(cases: dict[str, Analysis]) -> None:
    healthy = cases["healthy"]
    gain = healthy["gain/answer_slot"]
    tiny = gain._replace(values=1e-6 * gain.values, stderr=None)
    quantities = {**healthy.quantities, "gain/answer_slot": tiny}
    ax: Any
    ax, texts = _draw("information_gain", replace(healthy, quantities=quantities, spikes={}))
    assert ax.yaxis.get_offset_text().get_text() == ""
    assert any(text.endswith("e−07") for text in texts)


def test_spikes_are_those_of_the_rule_and_only_of_the_analysed_method(
    cases: dict[str, Analysis],
) -> None:
    healthy = cases["healthy"]
    assert spikes_of(healthy, "answer_slot") == sorted(
        healthy.spikes["z"], key=lambda spike: spike.step
    )
    assert spikes_of(healthy, "max_prob") is None
    ax, texts = _draw("information_gain", healthy)
    marked = [line for line in ax.lines if line.get_marker() == "v"]
    assert sorted(step for line in marked for step in line.get_xdata()) == [
        spike.step for spike in healthy.spikes["z"]
    ]
    assert any(str(len(healthy.spikes["z"])) in text and "spikes" in text for text in texts)


def test_too_few_problems_are_not_called_no_spike(cases: dict[str, Analysis]) -> None:
    _, texts = _draw("information_gain", cases["one problem"])
    assert any("too few" in text for text in texts)


def test_lone_values_between_skipped_steps_stay_visible(cases: dict[str, Analysis]) -> None:
    ax, _ = _draw("entropy", cases["skipped steps"])
    curve = next(line for line in ax.lines if str(line.get_label()).startswith("all positions"))
    assert curve.get_marker() == "o"
    assert list(curve.get_xdata()) == list(range(0, 48, 3))


def test_names_that_the_font_or_mathtext_would_trip_over(cases: dict[str, Analysis]) -> None:
    healthy = cases["healthy"]
    hostile = Analysis(
        healthy.quantities,
        healthy.spikes,
        healthy.s_curve,
        [],
        info={**healthy.info, "warnings": ["$\\frac{a$ 模型 😀 \u202e"]},
    )
    _, texts = _draw("insights", hostile)
    assert any("$\\frac{a$ ?? 😀 ?" in text for text in texts)


def test_unknown_panel_gets_a_hint() -> None:
    with pytest.raises(UnknownNameError, match="Did you mean 'confidence'"):
        load_panel("confidense")


def _over_steps(values: list[float], *, stderr: list[float] | None = None, n: int = 5) -> Quantity:
    return Quantity(
        np.array(values),
        ("step",),
        "bits",
        n,
        None if stderr is None else np.array(stderr),
        "ok",
        "",
    )


def test_half_width_is_students_t() -> None:
    # t quantile at .975 for 4 degrees of freedom, from the tables: 2.776; for 1: 12.706
    assert half_width(_over_steps([1.0], stderr=[2.0]))[0] == pytest.approx(2 * 2.776445, rel=1e-6)
    assert half_width(_over_steps([1.0], stderr=[1.0], n=2))[0] == pytest.approx(12.7062, rel=1e-5)
    assert np.isnan(half_width(_over_steps([1.0], stderr=[1.0], n=1))).all()
    assert np.isnan(half_width(_over_steps([1.0]))).all()


def test_normalised_runs_from_0_to_1_and_needs_a_range() -> None:
    scaled = normalised(_over_steps([4.0, np.nan, 2.0, 3.0]), -1.0)
    assert scaled is not None
    np.testing.assert_allclose(scaled.values, [0, np.nan, 1, 0.5])
    assert normalised(_over_steps([2.0, 2.0]), 1.0) is None


def test_settled_is_the_first_step_after_the_last_one_below() -> None:
    assert settled(_over_steps([0.2, 0.95, 0.5, 0.91, np.nan, 1.0])) == 3
    assert settled(_over_steps([0.95, 0.96, 1.0])) == 0
    assert settled(_over_steps([0.95, 0.2])) == 1
    assert settled(_over_steps([np.nan])) is None


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0.0, "0"),
        (0.82, "0.82"),
        (0.00106, "0.00106"),
        (4.8312, "4.83"),
        (128.0, "128"),
        (1234.0, "1234"),
        (-0.5, "-0.5"),
        (float("nan"), "–"),
        (1e-7, "1.00e-07"),
        (99.96, "100"),
    ],
)
def test_number(value: float, text: str) -> None:
    assert number(value) == text


def test_no_midpoint_is_shown_where_the_best_model_is_constant(cases: dict[str, Analysis]) -> None:
    whole = cases["healthy"]
    flat = replace(whole, s_curve=whole.s_curve._replace(model="constant"))
    _, texts = _draw("statistics", flat)
    assert "none (best model constant)" in texts and not any("26.4" in text for text in texts)
    assert any("26.4" in text for text in _draw("statistics", whole)[1])


def test_the_map_and_mutual_information_say_what_they_are(cases: dict[str, Analysis]) -> None:
    _, texts = _draw("tsne", cases["healthy"])
    assert any(
        "keeps 71 % of 10 nearest neighbours" in text and "mean nothing" in text for text in texts
    )
    _, texts = _draw("mutual_information", cases["healthy"])
    assert any("significant from step" in text for text in texts)
    _, texts = _draw("mutual_information", cases["all correct"])
    assert any("insufficient: 0 problems in the smaller class" in text for text in texts)
    whole = cases["healthy"]
    left = {"mi/gcmi": whole["mi/gcmi"]._replace(status="insufficient: too few")}
    _, texts = _draw("mutual_information", replace(whole, quantities=whole.quantities | left))
    assert any("insufficient: gcmi" in text for text in texts)


def test_the_path_on_the_map_is_not_that_of_a_few_slow_problems(cases: dict[str, Analysis]) -> None:
    healthy = cases["healthy"]
    step = np.asarray(healthy.info["tsne_step"])
    problem = np.asarray(healthy.info["tsne_problem"])
    kept = (step < 40) | (problem == problem[0])
    rows = {name: np.asarray(healthy.info[name])[kept] for name in ("tsne_points", "tsne_step")}
    info = {**healthy.info, **rows, "tsne_problem": problem[kept]}
    _, texts = _draw("tsne", healthy)
    assert "step 47" in texts
    _, texts = _draw("tsne", replace(healthy, info=info))
    assert "step 39" in texts and "step 47" not in texts


def test_what_a_step_adds_to_the_first_is_drawn_and_said(cases: dict[str, Analysis]) -> None:
    whole = cases["healthy"]
    ax, texts = _draw("mutual_information", whole)
    assert "beyond step 0" in texts and len(ax.collections) >= 3
    first = int(np.flatnonzero(whole["mi_beyond_p/logistic"].values <= 0.05)[0])
    assert any(f"beyond step 0 from step {first}" in text for text in texts)
    nothing = whole["mi_beyond_p/logistic"]._replace(values=np.ones(whole.info["steps"]))
    without = replace(whole, quantities=whole.quantities | {"mi_beyond_p/logistic": nothing})
    _, texts = _draw("mutual_information", without)
    assert any("beyond step 0 at no step" in text for text in texts)


def test_the_panel_of_pvi_says_from_where_to_where(cases: dict[str, Analysis]) -> None:
    ax, texts = _draw("pvi", cases["healthy"])
    assert any(text.startswith("Bits about the gold answer rise from 1") for text in texts)
    assert {"all problems", "correct in the end", "wrong in the end"} <= set(texts)


def test_every_curve_is_drawn_however_many_there_are(cases: dict[str, Analysis]) -> None:
    whole = cases["healthy"]
    curve = whole["mi/ross"]
    more = {f"mi/more_{i}": curve._replace(values=curve.values / (i + 2)) for i in range(20)}
    more["mi_size/theirs"] = curve
    more["mi_size/ksg1"] = curve  # which its estimator keeps off the dashboard
    more["mi/refused"] = curve._replace(status="insufficient: no such thing")
    ax, texts = _draw("mutual_information", replace(whole, quantities=whole.quantities | more))
    names = [name.removeprefix("mi/") for name in whole.quantities if name.startswith("mi/")]
    names += [f"more_{i}" for i in range(20)] + ["theirs (size)"]
    lines = {line.get_label(): line for line in ax.lines}
    assert set(names) < set(lines)
    looks = {(lines[name].get_color(), lines[name].get_linestyle()) for name in names}
    assert len(looks) == len(names)
    assert set(names) < set(texts) and "ksg1 (size)" not in texts
    assert any("insufficient: refused" in text for text in texts)


def test_a_curve_that_its_estimator_keeps_off_the_dashboard(
    cases: dict[str, Analysis], monkeypatch: pytest.MonkeyPatch
) -> None:
    from diffengine.analysis.show.plots import mutual_information

    monkeypatch.setattr(mutual_information, "off_dashboard", lambda: {"mi/gcmi"})
    ax, _ = _draw("mutual_information", cases["healthy"])
    labels = [line.get_label() for line in ax.lines]
    assert "binning" in labels and "gcmi" not in labels


def test_a_curve_of_the_answers_size_is_drawn_where_correctness_allows_none(
    cases: dict[str, Analysis],
) -> None:
    whole = cases["all correct"]
    curve = cases["healthy"]["mi/ross"]
    _, texts = _draw("mutual_information", whole)
    assert any("in the smaller class" in text for text in texts)
    _, texts = _draw(
        "mutual_information",
        replace(whole, quantities=whole.quantities | {"mi_size/theirs": curve}),
    )
    assert "theirs (size)" in texts
    assert any("insufficient: ross, binning" in text for text in texts)
