"""What an analysis, a quantity, a run's result and a model look like at a prompt: short, whatever
their size."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import numpy as np
import pytest

from diffengine.analysis.display import n_text
from diffengine.analysis.results import Quantity
from diffengine.engine.runs.run import RunResult

_spec = importlib.util.spec_from_file_location(
    "synthetic_analysis", Path(__file__).with_name("synthetic_analysis.py")
)
assert _spec is not None and _spec.loader is not None
synthetic = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(synthetic)
analysis = synthetic.analysis


@pytest.mark.parametrize(
    "arguments", [{}, {"problems": 0}, {"steps": 512, "block_length": 32}, {"gold": False}]
)
def test_an_analysis_is_short_and_says_what_is_in_it(arguments: dict) -> None:
    made = analysis(**arguments)
    made.info["warnings"] = ["a long warning " * 50] * 30
    made.problems.update({f"column_{number}": np.zeros(10_000) for number in range(300)})
    shown = repr(made)
    assert shown.count("\n") + 1 <= 40
    assert len(shown) < 6000
    assert f"{made.info['n_problems']} problems" in shown.splitlines()[0]
    assert "accuracy = " in shown.splitlines()[1]
    assert "30 warnings" in shown and "S-curve: " in shown and "... and" in shown


def test_the_numbers_shown_are_those_of_the_analysis() -> None:
    made = analysis()
    accuracy = made["accuracy"]
    assert f"accuracy = {float(accuracy.values):.4g}" in repr(
        made
    ) and f"(n = {accuracy.n})" in repr(made)


def quantity(values: np.ndarray, n: int | np.ndarray) -> Quantity:
    return Quantity(values, ("step", "other_step")[: values.ndim], "bit", n, None, "ok", "a label")


def test_a_quantity_shows_its_ends() -> None:
    shown = repr(quantity(np.arange(512 * 512.0).reshape(512, 512), 7))
    assert shown.count("\n") < 12 and "a label" in shown and "[bit]" in shown and "n = 7" in shown
    assert "step: 512, other_step: 512" in shown and "2.6214e+05" in shown
    assert n_text(quantity(np.zeros(3), np.array([3, 5, 4]))) == "3 to 5"
    assert n_text(quantity(np.zeros(0), np.zeros(0, int))) == "none"


def test_a_result_with_a_thousand_failures_is_one_line() -> None:
    shown = repr(
        RunResult(Path("runs/x"), 5, 2, {str(number): "reason " * 20 for number in range(1000)})
    )
    assert "1000 failed" in shown and len(shown) < 120
