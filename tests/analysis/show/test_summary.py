"""The summary says what the numbers say."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from diffengine.analysis.analyze import analyze_run
from diffengine.analysis.results import Spike
from diffengine.analysis.show.summary import summarise, write_summary
from diffengine.analysis.show.summary_insights import key_insights


@pytest.fixture
def rising(make_run: Callable[..., Any]) -> Any:
    """120 problems, confidence jumps at step 4 from .1 to .8 (correct) or to .2 (wrong)."""
    run = make_run(120, 12, 12)
    run["committed"][:], run["n_masked"][:] = 0, 12
    run["committed"][:, 11] = 1
    level = np.where(run["verdict"] == 1, 0.8, 0.2)[:, None]
    noise = np.random.default_rng(0).uniform(0.0, 0.02, (120, 12))
    run["answer_logprob"][:] = np.log(np.where(np.arange(12) >= 4, level, 0.1) + noise)[
        :, :, None, None
    ]
    run["entropy"][:] = np.linspace(4, 1, 12)[None, :, None] + noise[:, :, None]
    return analyze_run(run)


def test_sections_in_order(rising: Any) -> None:
    text = summarise(rising)
    titles = [
        "Dataset",
        "S-curve",
        "Information spikes",
        "Trajectories",
        "Patterns",
        "Key insights",
        "Warnings",
    ]
    assert sorted(titles, key=lambda title: text.index(f"\n{title}")) == titles
    assert "60 correct, 60 wrong" in text and "50.0 %" in text and "Wilson, n = 120" in text


def test_insights_follow_from_the_numbers(rising: Any) -> None:
    insights = " ".join(key_insights(rising))
    assert "60 of 120 problems correctly" in insights
    assert "rises from 0.11 to 0.51 probability (n = 120)" in insights
    assert "From step 4 of 12 on, correct and wrong problems differ" in insights
    assert "falls from 4.01 to 1.01 bits" in insights
    assert "step 4" in insights and "Rule z marks 1 spike, 1 at a block boundary" not in insights


def test_classes_too_small_to_compare_are_not_compared(make_run: Callable[..., Any]) -> None:
    run = make_run(40, 8, 8)
    run["verdict"][:], run["verdict"][:19] = 1, 0
    assert "correct and wrong" not in " ".join(key_insights(analyze_run(run))).lower()


def test_no_clear_change_is_called_that(make_run: Callable[..., Any]) -> None:
    assert "entropy over all positions shows no clear change" in " ".join(
        key_insights(analyze_run(make_run(30, 8, 8)))
    )


def test_first_ten_spikes(rising: Any) -> None:
    many = [Spike(step, 0.01, 0.001, 10.0, 0.1, 0.11, step % 2 == 0) for step in range(14)]
    rising.spikes["z"] = many
    section = summarise(rising).split("Information spikes")[1].split("Trajectories")[0]
    assert (
        len(re.findall(r"^step \d+", section, re.M)) == 10
        and "4 more" in section
        and "14 spikes, 7 at" in section
    )


def test_code_that_is_not_ours_is_named(rising: Any) -> None:
    assert "theirs" not in summarise(rising)
    plugin = {
        "kind": "metric",
        "name": "margin/theirs",
        "target": "theirs:MARGIN",
        "package": "theirs",
        "version": "1.2",
    }
    rising.info["plugins"] = [plugin, plugin | {"package": "", "version": "sha256:0123"}]
    section = summarise(rising).split("Grading")[0]
    assert "metric margin/theirs of theirs 1.2\n" in section
    assert "metric margin/theirs from a file of no package, sha256:0123\n" in section


def test_every_trajectory_has_unit_and_n(rising: Any) -> None:
    section = summarise(rising).split("standard error)")[1].split("Patterns")[0]
    lines = [line for line in section.splitlines() if ": " in line]
    assert len(lines) == sum(q.dims == ("step",) for q in rising.quantities.values()) - 1
    assert all("n = " in line or "insufficient" in line for line in lines)
    assert any(line.startswith("entropy/all") and line.endswith("bits") for line in lines)


def test_written_file(rising: Any, tmp_path: Path) -> None:
    write_summary(rising, tmp_path / "analysis_summary.txt")
    assert (tmp_path / "analysis_summary.txt").read_text("utf-8") == summarise(rising)
