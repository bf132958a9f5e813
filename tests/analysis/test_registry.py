"""Every name in the tables leads to a documented function, and every quantity of an analysis is in
the tables."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from diffengine.analysis import registry
from diffengine.analysis.analyze import analyze_run
from diffengine.analysis.findings.curve_models import Fit
from diffengine.analysis.metrics.block import read_block
from diffengine.engine.store.format.schema import VARIABLES


@pytest.mark.parametrize("name", registry.METRICS)
def test_metric(name: str, make_columns: Callable[..., dict[str, np.ndarray]]) -> None:
    metric = registry.METRICS[name]
    function = registry.resolve(metric.function)
    assert (function.__doc__ or "").startswith("[N, T]")
    assert set(metric.variables) <= set(VARIABLES)
    needed = {*metric.variables, "performed", "committed"}
    columns = {key: value for key, value in make_columns(3, 5, 6).items() if key in needed}
    assert function(read_block(columns)).shape == (3, 5)


@pytest.mark.parametrize(
    "function",
    [*registry.DERIVED.values(), *registry.SPIKE_RULES.values(), *registry.CURVE_MODELS.values()],
)
def test_functions_exist_and_are_documented(function: str) -> None:
    found = registry.resolve(function)
    assert callable(found) and found.__doc__


@pytest.mark.parametrize("name", registry.CURVE_MODELS)
def test_curve_models_return_fits(name: str) -> None:
    x = np.linspace(0, 1, 12)
    fit = registry.resolve(registry.CURVE_MODELS[name])(x, x**2)
    assert isinstance(fit, Fit) and fit.model == name and fit.curve.shape == (12,)


def test_an_analysis_has_exactly_the_registered_quantities(make_run: Callable[..., Any]) -> None:
    found = analyze_run(make_run())
    assert (
        set(found.quantities) == (set(registry.METRICS) | set(registry.DERIVED)) - registry.OPTIONAL
    )
    assert set(found.spikes) == set(registry.SPIKE_RULES)


def test_a_wrong_name_is_answered_with_a_guess() -> None:
    with pytest.raises(
        ValueError, match="unknown curve model 'logistc', did you mean 'logistic'.; known: constant"
    ):
        registry.find(registry.CURVE_MODELS, "logistc", kind="curve model")
    with pytest.raises(ValueError, match="unknown curve model 'zzz'; known"):
        registry.find(registry.CURVE_MODELS, "zzz", kind="curve model")


def test_the_seeds_methods_are_there() -> None:
    assert {"softmax_sum", "max_prob", "mean_prob"} < set(registry.confidence_methods())
    assert registry.confidence_methods()[0] == "answer_slot"
