"""Metrics of somebody else: by `module:object` and by entry point, what is kept of them, and what
they do wrong ends in a sentence while the other results are kept."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner

from diffengine.analysis.analyze import analyze_run
from diffengine.analysis.metrics import trajectories
from diffengine.analysis.metrics.loading import load_metrics
from diffengine.analysis.registry import METRICS
from diffengine.analysis.results import load_analysis, save_analysis
from diffengine.analysis.show.summary import summarise
from diffengine.engine.cli.command_line import group
from diffengine.engine.registry import PluginError, UnknownNameError

HEAD = """
import numpy as np
from diffengine.analysis.metrics.metric import Metric

def declared(function, **more):
    return Metric(function, units="nats", label="margin, masked positions",
                  variables=("margin",), **more)
"""
PARTS = {
    "GOOD": "lambda block: np.where(block.masked, block.variable('margin'), 0.0).sum(2) / 3.0",
    "RAISES": "lambda block: 1 / 0",
    "SHORT": "lambda block: np.zeros(2)",
    "WHOLE_NUMBERS": "lambda block: np.zeros(block.performed.shape, int)",
    "NO_ARRAY": "lambda block: None",
}
FAULTS = {
    "RAISES": "raised ZeroDivisionError: division by zero",
    "SHORT": r"returned an array of shape \[2\], expected floats of shape \[6, 8\]",
    "WHOLE_NUMBERS": "returned int64, expected floats",
    "NO_ARRAY": "returned NoneType, expected floats",
}


@pytest.fixture
def module(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """A module of somebody else's, importable in this test alone."""
    lines = [HEAD]
    lines += [f"{name} = declared({function})" for name, function in PARTS.items()]
    lines += [
        "SHARE = declared(lambda block: np.full(block.performed.shape, 0.5), share=True)",
        "UNKNOWN = Metric(PARTS_FUNCTION, '1', 'x', ('depth',))".replace(
            "PARTS_FUNCTION", "lambda block: block"
        ),
        "NO_METRIC = 3",
        "def on_the_second_block(block, calls=[]):",
        "    calls.append(1)",
        "    return np.full(block.performed.shape, 0.0 if len(calls) == 1 else 1 // (len(calls) - 2))",
        "LATE = declared(on_the_second_block)",
        "def overwrite(block):",
        "    for name in block.variables:",
        "        block.variables[name][:] = 0",
        "    return np.zeros(block.performed.shape)",
        "OVERWRITES = declared(overwrite)",
    ]
    name = f"somebodys_{tmp_path.name}".replace("-", "_")
    (tmp_path / f"{name}.py").write_text("\n".join(lines))
    monkeypatch.syspath_prepend(tmp_path)
    yield name
    sys.modules.pop(name, None)


@pytest.fixture
def install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Put a package "somebody" 1.2 with these metrics beside the installed ones, for this test."""

    def plant(metrics: dict[str, str]) -> None:
        folder = tmp_path / "somebody-1.2.dist-info"
        folder.mkdir()
        (folder / "METADATA").write_text("Metadata-Version: 2.1\nName: somebody\nVersion: 1.2\n")
        lines = [f"{name} = {target}" for name, target in metrics.items()]
        (folder / "entry_points.txt").write_text("\n".join([f"[{METRICS.group}]", *lines]) + "\n")
        monkeypatch.syspath_prepend(tmp_path)
        monkeypatch.setattr(METRICS, "_all", None)

    return plant


def test_a_metric_by_module_and_object(
    module: str, make_run: Callable[..., Any], tmp_path: Path
) -> None:
    run = make_run()
    name = f"{module}:GOOD"
    analysis = analyze_run(run, metrics=[name])
    masked = np.cumsum(run["committed"], axis=1) - run["committed"] == 0
    expected = (np.where(masked, run["margin"], 0).sum(axis=2) / 3).mean(axis=0)
    np.testing.assert_allclose(analysis[name].values, expected, rtol=1e-6)
    assert analysis[name].units == "nats" and (analysis[name].n == 6).all()

    save_analysis(analysis, tmp_path / "a.h5")
    loaded = load_analysis(tmp_path / "a.h5")
    (plugin,) = loaded.info["plugins"]
    assert (plugin["kind"], plugin["name"], plugin["target"]) == ("metric", name, name)
    assert plugin["package"] == "" and plugin["version"].startswith("sha256:")
    np.testing.assert_array_equal(loaded[name].values, analysis[name].values)
    text = summarise(loaded)
    assert f"metric {name} from a file of no package, sha256:" in text
    assert f"\n{name}: " in text


def test_without_others_nothing_is_said_of_them(make_run: Callable[..., Any]) -> None:
    assert "plugins" not in analyze_run(make_run()).info


@pytest.mark.parametrize("name", FAULTS)
def test_what_a_metric_does_wrong_is_a_sentence(
    name: str, module: str, make_run: Callable[..., Any]
) -> None:
    expected = analyze_run(make_run())
    analysis = analyze_run(make_run(), metrics=[f"{module}:{name}", f"{module}:GOOD"])
    failed = analysis[f"{module}:{name}"]
    assert failed.status.startswith(f"insufficient: metric '{module}:{name}' r")
    with pytest.raises(AssertionError, match=FAULTS[name]):
        raise AssertionError(failed.status)
    assert np.isnan(failed.values).all()
    assert failed.status.removeprefix("insufficient: ") in analysis.info["warnings"]
    assert analysis[f"{module}:GOOD"].ok
    for other, quantity in expected.quantities.items():
        np.testing.assert_array_equal(analysis[other].values, quantity.values)


def test_a_metric_that_fails_half_way_has_no_value_at_all(
    module: str, make_run: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(trajectories, "BLOCK_BYTES", 1)  # one problem a block
    quantity = analyze_run(make_run(), metrics=[f"{module}:LATE"])[f"{module}:LATE"]
    assert "raised ZeroDivisionError" in quantity.status
    assert np.isnan(quantity.values).all() and (np.asarray(quantity.n) == 0).all()


def test_a_share_is_of_zeros_and_ones(module: str, make_run: Callable[..., Any]) -> None:
    status = analyze_run(make_run(), metrics=[f"{module}:SHARE"])[f"{module}:SHARE"].status
    assert status.endswith("is declared a share and returned values other than 0 and 1")


def test_a_metric_that_overwrites_what_it_is_given_harms_no_other(
    module: str, make_run: Callable[..., Any]
) -> None:
    expected = analyze_run(make_run())
    run = make_run()
    run._columns = {name: column.copy() for name, column in run._columns.items()}
    analysis = analyze_run(run, metrics=[f"{module}:OVERWRITES"])
    for name in METRICS:
        np.testing.assert_array_equal(analysis[name].values, expected[name].values)


@pytest.mark.parametrize(
    ("thing", "sentence"),
    [
        ("NO_METRIC", "is int, expected a Metric; declare it as"),
        ("UNKNOWN", "reads 'depth', which no run records; there are: problem_id"),
        ("MISSING", "has no 'MISSING'"),
    ],
)
def test_what_was_asked_for_and_is_no_metric_is_refused(
    thing: str, sentence: str, module: str, make_run: Callable[..., Any]
) -> None:
    with pytest.raises(PluginError, match=sentence):
        analyze_run(make_run(), metrics=[f"{module}:{thing}"])


def test_a_name_that_nobody_knows_is_refused() -> None:
    with pytest.raises(UnknownNameError, match="no metric is called 'entropy/al'.*'entropy/all'"):
        load_metrics(["entropy/al"])


def test_an_installed_package_adds_its_metrics(
    module: str, make_run: Callable[..., Any], install: Callable[..., None]
) -> None:
    install({"somebody/margin": f"{module}:GOOD", "confidence/mine": f"{module}:GOOD"})
    analysis = analyze_run(make_run(12), confidence_method="mine")
    assert analysis["somebody/margin"].ok
    np.testing.assert_allclose(
        analysis.problems["confidence"].mean(axis=0), analysis["somebody/margin"].values, rtol=1e-14
    )
    names = [plugin["name"] for plugin in analysis.info["plugins"]]
    assert names == ["somebody/margin", "confidence/mine"]
    assert {plugin["version"] for plugin in analysis.info["plugins"]} == {"1.2"}
    assert "metric somebody/margin of somebody 1.2" in summarise(analysis)


@pytest.mark.parametrize(
    ("point", "thing", "sentence"),
    [
        ("broken", "GONE", "has no 'GONE'"),
        ("number", "NO_METRIC", "is int, expected a Metric"),
        ("accuracy", "GOOD", "has the name of the quantity 'accuracy'; rename it"),
        ("entropy.all", "GOOD", "has the name of the quantity 'entropy/all'; rename it"),
    ],
)
def test_an_installed_package_that_is_broken_costs_a_warning(
    point: str,
    thing: str,
    sentence: str,
    module: str,
    make_run: Callable[..., Any],
    install: Callable[..., None],
) -> None:
    expected = analyze_run(make_run())
    install({point: f"{module}:{thing}"})
    analysis = analyze_run(make_run())
    assert list(analysis.quantities) == list(expected.quantities)
    (warning,) = [text for text in analysis.info["warnings"] if "left out" in text]
    assert sentence in warning


def test_the_command_takes_metrics(module: str, tmp_path: Path) -> None:
    """A wrong one is refused before the run is read."""
    said = CliRunner().invoke(group, ["analyze", str(tmp_path), "--metric", f"{module}:NO_METRIC"])
    assert said.exit_code != 0
    assert "--metric" in CliRunner().invoke(group, ["analyze", "--help"]).output
