"""Every row of the tables leads to a documented object, and an analysis holds exactly the
quantities that are named."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from diffengine.analysis import registry
from diffengine.analysis.analyze import analyze_run
from diffengine.analysis.errors import SettingError, load_named
from diffengine.analysis.findings.curve_models import Fit
from diffengine.analysis.findings.finding import Finding
from diffengine.analysis.metrics.block import read_block
from diffengine.analysis.metrics.metric import Metric
from diffengine.analysis.names import quantity_names
from diffengine.analysis.slow_parts import slow_names
from diffengine.engine.store.format.schema import VARIABLES


@pytest.mark.parametrize("name", registry.METRICS)
def test_metric(name: str, make_columns: Callable[..., dict[str, np.ndarray]]) -> None:
    metric = registry.METRICS.load(name)
    assert isinstance(metric, Metric)
    assert (metric.function.__doc__ or "").startswith("[N, T]")
    assert set(metric.variables) <= set(VARIABLES)
    needed = {*metric.variables, "performed", "committed"}
    columns = {key: value for key, value in make_columns(3, 5, 6).items() if key in needed}
    assert metric.function(read_block(columns)).shape == (3, 5)


DOCS = Path(__file__).resolve().parents[2] / "docs" / "analysis.md"


@pytest.mark.parametrize("name", registry.METRICS)
def test_a_metric_has_its_line_in_the_docs(name: str) -> None:
    rows = [line for line in DOCS.read_text("utf-8").splitlines() if line.startswith("| `")]
    assert any(f"`{name}`" in row.split(" | ")[0] for row in rows)


@pytest.mark.parametrize("name", registry.FINDINGS)
def test_finding(name: str) -> None:
    finding = registry.FINDINGS.load(name)
    assert isinstance(finding, Finding) and finding.names


@pytest.mark.parametrize(
    "table", [registry.SPIKE_RULES, registry.CURVE_MODELS, registry.EXIT_RULES]
)
def test_functions_exist_and_are_documented(table: registry.Registry) -> None:
    for name in table:
        function = table.load(name)
        assert callable(function) and function.__doc__


@pytest.mark.parametrize("name", registry.CURVE_MODELS)
def test_curve_models_return_fits(name: str) -> None:
    x = np.linspace(0, 1, 12)
    fit = registry.CURVE_MODELS.load(name)(x, x**2)
    assert isinstance(fit, Fit) and fit.model == name and fit.curve.shape == (12,)


def test_an_analysis_has_exactly_the_named_quantities(make_run: Callable[..., Any]) -> None:
    found = analyze_run(make_run())
    asked = set(slow_names())
    for name in registry.FINDINGS:
        finding = registry.FINDINGS.load(name)
        if finding.asked is not None or finding.there is not None:
            asked |= set(finding.names)
    assert list(found.quantities) == [name for name in quantity_names() if name not in asked]
    assert set(found.spikes) == set(registry.SPIKE_RULES)


def test_no_name_is_given_twice() -> None:
    names = quantity_names()
    assert len(set(names)) == len(names)


def test_a_wrong_name_is_answered_with_a_guess() -> None:
    with pytest.raises(
        SettingError,
        match="no curve model is called 'logistc'; there are: constant.* Did you mean 'logistic'",
    ):
        load_named(registry.CURVE_MODELS, "logistc")
    with pytest.raises(SettingError, match="no curve model is called 'zzz'; there are: constant"):
        load_named(registry.CURVE_MODELS, "zzz")


def test_the_original_suites_methods_are_there() -> None:
    assert {"softmax_sum", "max_prob", "mean_prob"} < set(registry.confidence_methods())
    assert registry.confidence_methods()[0] == "answer_slot"
