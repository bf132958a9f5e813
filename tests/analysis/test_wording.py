"""Numbers in texts: an error where there is one, and one problem is said to have none."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from diffengine.analysis.analyze import analyze_run
from diffengine.analysis.compare.side_by_side import compare_text
from diffengine.analysis.results import Quantity
from diffengine.analysis.show.summary import summarise
from diffengine.analysis.wording import of_n, plus_minus, value_text


def test_the_forms() -> None:
    assert (plus_minus(0.0234), plus_minus(0.5, ".3f"), plus_minus(None), plus_minus(np.nan)) == (
        " +- 0.023", " +- 0.500", "", ""
    )  # fmt: skip
    assert (of_n(12, 0.1), of_n(12, None), of_n(1, np.nan)) == (
        "n = 12",
        "n = 12",
        "n = 1, no interval",
    )


def test_an_interval_has_the_values_unit_and_a_share_is_in_percent() -> None:
    def text(value: float, low: float, high: float, units: str) -> str:
        interval = np.array([[low], [high]])
        quantity = Quantity(np.array([value]), ("step",), units, 30, None, "ok", "", interval)
        return value_text(quantity, 0)

    assert text(0.31, 0.27, 0.35, "bits") == "0.31 (0.27 to 0.35) bits"
    assert text(0.88, 0.83, 0.92, "1") == "88 % (83 to 92)"
    assert text(0.31, np.nan, np.nan, "bits") == "0.31 bits, no interval"
    assert text(1.0, np.nan, np.nan, "1") == "100 %, no interval"
    assert text(np.nan, np.nan, np.nan, "bits") == "no value"


def test_one_problem_has_no_interval_anywhere(make_run: Callable[..., Any]) -> None:
    analysis = analyze_run(make_run(1), spike_rule="basic")
    text = summarise(analysis) + compare_text([analysis, analysis])
    assert "nan" not in text and "n = 1, no interval" in text
    assert "last - first step, n = 1, no interval" in text


@pytest.mark.parametrize("steps", [1, 2])
def test_a_run_of_one_step_or_without_gold_says_no_nan(
    make_run: Callable[..., Any], steps: int
) -> None:
    for run in (
        make_run(3, steps=steps),
        make_run(3, steps=steps, answer=[[], [], []]),
        make_run(0, steps=steps),
    ):
        text = summarise(analyze_run(run))
        assert "nan" not in text.replace("cannot", "")
