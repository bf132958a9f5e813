"""What pages, pictures and texts show of runs that are decoded block by block."""

from __future__ import annotations

import base64
import importlib.util
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from diffengine.analysis.analyze import analyze_run
from diffengine.analysis.results import Analysis
from diffengine.analysis.show.figure import caveats
from diffengine.analysis.show.plots import entropy, statistics
from diffengine.analysis.show.report import page_data
from diffengine.analysis.show.summary import summarise
from diffengine.analysis.show.summary_insights import key_insights
from diffengine.analysis.show.values import course_of, n_of
from diffengine.engine.store import open_run

_spec = importlib.util.spec_from_file_location(
    "block_columns", Path(__file__).parents[2] / "block_columns.py"
)
assert _spec is not None and _spec.loader is not None
made = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(made)

MASKED, WRITTEN, UNOPENED = 1, 2, 4
SHOWN = 5
"""Steps until the last problem's end."""


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Any:
    return open_run(made.write_run(tmp_path_factory.mktemp("blocks") / "made", made.SCRIPTS))


@pytest.fixture(scope="module")
def analysis(run: Any) -> Analysis:
    return analyze_run(run)


@pytest.fixture(scope="module")
def problems(run: Any, analysis: Analysis) -> list[dict[str, Any]]:
    shown: list[dict[str, Any]] = page_data(run, analysis, max_problems=10)["problems"]
    return shown


def test_the_page_marks_what_was_not_open(problems: list[dict[str, Any]]) -> None:
    for script, problem in zip(made.SCRIPTS, problems, strict=True):
        raw = np.frombuffer(base64.b64decode(problem["flags"]), np.uint8)
        flags = raw.reshape(SHOWN, made.POSITIONS)
        opened: set[int] = set()
        for step in range(SHOWN):
            now = script.steps[step] if step < len(script.steps) else made.Step(0, 0, {})
            opened |= set(range(now.start, now.end))
            unopened = set(np.flatnonzero(flags[step] & UNOPENED).tolist())
            assert unopened == set(range(made.POSITIONS)) - opened
            written = set(np.flatnonzero(flags[step] & WRITTEN).tolist())
            assert written == {*now.commits, *now.revises}


def test_the_page_groups_positions_by_each_problems_own_blocks(
    problems: list[dict[str, Any]],
) -> None:
    starts = [problem["block_starts"] for problem in problems]
    assert starts == [[0, 2], [0, 2], [0, 4], [0, 3]]
    assert problems[0]["block_at"] == [0, 0, 1, 1, 1]
    assert problems[1]["block_at"] == [0, 0, -1, -1, -1]


def test_words_above_every_picture(analysis: Analysis) -> None:
    words = " ".join(caveats(analysis))
    assert "Decoded block by block" in words
    assert "from the step on that opens its block" in words
    assert entropy.finding(analysis) == "Entropy over the open block"
    rows = dict(statistics.rows(analysis))
    assert "Entropy, open positions" in rows
    assert rows["Confidence above 0.1 / 0.8"] == "undefined"
    assert n_of(analysis, "confidence/answer_slot") == "n = 4 to 2"


def test_a_change_of_confidence_is_that_of_each_problem(run: Any, analysis: Analysis) -> None:
    """Not of the mean over those that are open first to that over all."""
    values = analysis.problems["confidence"]
    known = [row[np.isfinite(row)] for row in values]
    course = course_of(analysis, "confidence/answer_slot")
    assert course is not None and course.n == len(known)
    assert course.first == pytest.approx(np.mean([row[0] for row in known]))
    assert course.last == pytest.approx(np.mean([row[-1] for row in known]))


def test_texts_say_nothing_of_first_and_last_steps(analysis: Analysis) -> None:
    insights = " ".join(key_insights(analysis))
    assert "entropy" not in insights and "CKA" not in insights
    assert "its shape over steps is undefined" in insights
    text = summarise(analysis)
    assert "1 problems: tokens were revised after their commit" in text
    assert "never" not in text.partition("S-curve\n")[2].partition("\n\n")[0]
    for pattern in analysis.patterns:
        assert pattern.verdict.startswith("no verdict"), pattern.name
