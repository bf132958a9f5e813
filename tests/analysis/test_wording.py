"""Numbers in texts: an error where there is one, and one problem is said to have none."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from diffengine.analysis.analyze import analyze_run
from diffengine.analysis.compare.side_by_side import compare_text
from diffengine.analysis.show.summary import summarise
from diffengine.analysis.wording import of_n, plus_minus


def test_the_forms() -> None:
    assert (plus_minus(0.0234), plus_minus(0.5, ".3f"), plus_minus(None), plus_minus(np.nan)) == (
        " +- 0.023", " +- 0.500", "", ""
    )  # fmt: skip
    assert (of_n(12, 0.1), of_n(12, None), of_n(1, np.nan)) == (
        "n = 12",
        "n = 12",
        "n = 1, no interval",
    )


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
