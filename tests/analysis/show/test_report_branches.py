"""The report page's section on branches holds what a plain count of the stored branches says."""

from __future__ import annotations

import base64
import math
import re
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from diffengine.analysis.analyze import analyze_run
from diffengine.analysis.results import Analysis
from diffengine.analysis.show.pivotal import answers_at
from diffengine.analysis.show.report import page_data, write_report
from diffengine.engine.branching.branch import branch
from diffengine.engine.models.bundled import BUNDLED
from diffengine.engine.models.loading import load_model
from diffengine.engine.problems.read import read_problems
from diffengine.engine.runs.run import run
from diffengine.engine.store import Run, open_run

GRID = [0, 6]
SAMPLES = 6
STEPS = 12
AT = 6
"""Where each position is remasked, in the first problem alone."""


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> tuple[Run, Run, Run]:
    """A run, its drawn branches, and those with one position remasked."""
    out = tmp_path_factory.mktemp("branched") / "run"
    model = load_model(BUNDLED, device="cpu")
    run(read_problems(["generated:3"]), out=out, model=model, steps=STEPS)
    drawn = branch(out, at=GRID, samples=SAMPLES, temperature=1.0, model=model).path
    each = branch(out, at=AT, do="remask each", limit=1, model=model).path
    return open_run(out), open_run(drawn), open_run(each)


@pytest.fixture(scope="module")
def analysis(runs: tuple[Run, Run, Run]) -> Analysis:
    return analyze_run(runs[0])


@pytest.fixture(scope="module")
def page(runs: tuple[Run, Run, Run], analysis: Analysis) -> dict[str, Any]:
    return page_data(runs[0], analysis, max_problems=10)


def counted(drawn: Run, parent: str, step: int) -> Counter[str]:
    answers = zip(
        drawn["parent_id"][...],
        drawn["branch_step"][...],
        drawn["extracted_answer"][...],
        strict=True,
    )
    return Counter(answer for name, at, answer in answers if (name, at) == (parent, step))


def test_each_problem_has_the_answers_of_each_state(
    runs: tuple[Run, Run, Run], page: dict[str, Any]
) -> None:
    parent, drawn, _ = runs
    assert [problem["id"] for problem in page["problems"]] == parent.ids
    assert (page["branching"]["grid"], page["branching"]["end"]) == (GRID, STEPS)
    for row, problem in enumerate(page["problems"]):
        states = problem["branches"]["states"]
        assert len(states) == len(GRID) + 1
        for place, step in enumerate(GRID):
            counts = counted(drawn, problem["id"], step)
            assert sum(counts.values()) == SAMPLES
            said = states[place]
            assert len(said["answers"]) + said["others"] == len(counts)
            for text, share in said["answers"]:
                assert share == pytest.approx(counts[text] / SAMPLES, rel=5e-3)
        own = str(parent["extracted_answer"][row])
        assert states[-1] == {"answers": [[own, 1.0]], "others": 0}


def test_each_problem_has_its_entropy(runs: tuple[Run, Run, Run], page: dict[str, Any]) -> None:
    """Miller and Madow's: plug-in and (classes - 1) / (2 R ln 2)."""
    for problem in page["problems"]:
        for place, step in enumerate(GRID):
            counts = counted(runs[1], problem["id"], step).values()
            plug_in = -sum(c / SAMPLES * math.log2(c / SAMPLES) for c in counts)
            expected = plug_in + (len(counts) - 1) / (2 * SAMPLES * math.log(2))
            said = problem["branches"]["entropy"][place]
            assert said == pytest.approx(expected, rel=6e-3, abs=1e-9)


def decoded(coding: dict[str, Any], text: str, steps: int) -> np.ndarray:
    codes = np.frombuffer(base64.b64decode(text), np.uint8).reshape(steps, -1)
    return np.where(codes == 255, np.nan, coding["scale"] * codes / 254.0)


def test_the_map_counts_the_other_tokens_that_change(
    runs: tuple[Run, Run, Run], page: dict[str, Any]
) -> None:
    parent, _, each = runs
    mapped = page["branching"]["map"]
    assert (mapped["text"], mapped["steps"], mapped["n"]) == ("remask each", [AT], 1)
    final = np.asarray(parent["token"][0])[-1]
    seen = np.asarray(parent["token"][0])[AT - 1]
    expected = np.full(len(final), np.nan)
    for number in range(len(each)):
        (position,) = np.flatnonzero(np.asarray(each["start_token"][number]) != seen)
        ended = np.asarray(each["final_token"][number])
        expected[position] = sum(ended[p] != final[p] for p in range(len(final)) if p != position)
    assert np.isfinite(expected).any()
    coding = mapped["codings"]["collateral"]
    own = decoded(coding, page["problems"][0]["map"]["collateral"], 1)[0]
    np.testing.assert_allclose(own, expected, atol=coding["scale"] / 250)
    mean = decoded(coding, mapped["mean"]["collateral"], 1)[0]
    np.testing.assert_allclose(mean, expected, atol=coding["scale"] / 250)
    assert all("map" not in problem for problem in page["problems"][1:])


def test_the_table_has_the_rows_of_the_analysis(analysis: Analysis, page: dict[str, Any]) -> None:
    beyond = np.flatnonzero(analysis.problems["pivotal_p"] <= 0.05)
    assert page["branching"]["n_pivots"] == len(beyond)
    drops = [pivot["drop"] for pivot in page["branching"]["pivots"]]
    assert drops == sorted(drops, reverse=True)
    for pivot in page["branching"]["pivots"]:
        row = analysis.problems["id"].tolist().index(pivot["id"])
        place = [*GRID, STEPS].index(pivot["step"])
        named, others = answers_at(analysis, row, place)
        assert [text for text, _ in pivot["before"]["answers"]] == [a.text for a in named]
        assert pivot["before"]["others"] == others


def test_the_curves_are_those_of_the_analysis(analysis: Analysis, page: dict[str, Any]) -> None:
    charts = {chart["title"]: chart for chart in page["branching"]["charts"]}
    line = charts["How many answers are decided"]["lines"][0]
    shown = analysis["decided/nine_tenths"].values
    for step in range(STEPS):
        if step in GRID:
            assert line["values"][step] == pytest.approx(float(shown[step]), abs=5e-3)
        else:
            assert line["values"][step] is None


def test_the_page_says_what_was_branched(page: dict[str, Any]) -> None:
    said = " ".join(page["branching"]["said"])
    assert f"R = {SAMPLES}, temperature 1" in said and page["branching"]["why_not"] == ""


def test_without_branches_a_line_says_how_to_get_them(
    runs: tuple[Run, Run, Run], tmp_path: Path
) -> None:
    import shutil

    alone = Path(shutil.copytree(runs[0].path, tmp_path / "run"))
    shutil.rmtree(alone / "branches")
    with open_run(alone) as bare:
        page = page_data(bare, analyze_run(bare), max_problems=10)
    assert "diffengine branch RUN" in page["branching"]["why_not"]
    assert page["branching"]["map"] is None
    assert not any({"branches", "map"} & set(problem) for problem in page["problems"])


def test_branches_that_no_analysis_has_read_are_named(runs: tuple[Run, Run, Run]) -> None:
    page = page_data(runs[0], None, max_problems=10)
    assert "no analysis has read yet" in page["branching"]["why_not"]


def test_a_problem_that_is_not_in_the_analysis_has_no_answers(
    runs: tuple[Run, Run, Run], analysis: Analysis
) -> None:
    """As where the analysis is older than the run."""
    from dataclasses import replace

    fewer = {name: column[1:] for name, column in analysis.problems.items()}
    page = page_data(runs[0], replace(analysis, problems=fewer), max_problems=10)
    assert "branches" not in page["problems"][0]
    full = page_data(runs[0], analysis, max_problems=10)
    for now, then in zip(page["problems"][1:], full["problems"][1:], strict=True):
        assert now["branches"] == then["branches"]


def test_the_page_is_whole(runs: tuple[Run, Run, Run], analysis: Analysis, tmp_path: Path) -> None:
    html = write_report(runs[0], analysis, tmp_path / "report.html").read_text("utf-8")
    assert html.lower().count("<script") == 2 and "http://" not in html
    assert re.search(r'<h2 id="decided-title">When is the answer decided\?</h2>', html)
