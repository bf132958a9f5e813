"""Runs that keep answers alone (`--record answers`): what answers tell is told, and the rest says in
one sentence why it is not there."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from diffengine.analysis.analyze import analyze_run
from diffengine.analysis.limits import NO_TRAJECTORY
from diffengine.analysis.original.results_pt import write_results
from diffengine.analysis.results import Analysis, load_analysis, save_analysis
from diffengine.analysis.samples import finding as samples
from diffengine.analysis.show.dashboard import draw_dashboard
from diffengine.analysis.show.summary import summarise
from diffengine.engine.runs.run import run
from diffengine.engine.store import open_run

ASKED: dict[str, Any] = {
    "steps": 16,
    "gen_length": 32,
    "block_length": 32,
    "temperature": 1.0,
    "samples": 3,
}


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """The same decodings with and without their trajectories."""
    folder = tmp_path_factory.mktemp("answers")
    for record in ("all", "answers"):
        run("generated:12", out=folder / record, record=record, **ASKED)
    return folder / "all", folder / "answers"


@pytest.fixture(scope="module")
def analyses(runs: tuple[Path, Path]) -> tuple[Analysis, Analysis]:
    whole, alone = (
        analyze_run(open_run(path), mutual_information=path.name == "answers", tsne=True)
        if path.name == "answers"
        else analyze_run(open_run(path))
        for path in runs
    )
    return whole, alone


KEPT = ("accuracy", *samples.NAMES)


def test_what_answers_tell_is_the_same(analyses: tuple[Analysis, Analysis]) -> None:
    whole, alone = analyses
    for name in KEPT:
        assert alone[name].status == whole[name].status
        np.testing.assert_array_equal(alone[name].values, whole[name].values)
        np.testing.assert_array_equal(alone[name].n, whole[name].n)
    for column in ("id", "verdict", "group_id", "sample", "answer_class", "answer_entropy"):
        np.testing.assert_array_equal(alone.problems[column], whole.problems[column])
    for key in ("n_problems", "n_samples", "n_correct", "accuracy_interval", "lm_eval"):
        assert alone.info[key] == whole.info[key]


def test_the_rest_says_why_it_is_not_there(analyses: tuple[Analysis, Analysis]) -> None:
    whole, alone = analyses
    assert list(alone.quantities) == list(whole.quantities)
    for name, quantity in alone.quantities.items():
        if name not in KEPT:
            assert quantity.status == f"insufficient: {NO_TRAJECTORY}", name
            assert quantity.dims == whole[name].dims
    sentences = [text for text in alone.info["warnings"] if NO_TRAJECTORY in text]
    assert len(sentences) == 1 and "are left out" in sentences[0]
    assert not any("never hit" in text for text in alone.info["warnings"])
    assert "mutual_information" not in alone.info and "tsne" not in alone.info


def test_texts_and_pictures_of_it(analyses: tuple[Analysis, Analysis], tmp_path: Path) -> None:
    alone = analyses[1]
    save_analysis(alone, tmp_path / "analysis.h5")
    assert load_analysis(tmp_path / "analysis.h5").problems.keys() == alone.problems.keys()
    text = summarise(alone)
    assert "pass@2:" in text and "12 problems, 36 samples" in text
    write_results(alone, tmp_path / "results.pt")
    draw_dashboard(alone, tmp_path / "dashboard.png")
    assert (tmp_path / "dashboard.png").stat().st_size > 10_000


def test_an_unfinished_run_without_any_answer_yet(runs: tuple[Path, Path], tmp_path: Path) -> None:
    def stop(progress: Any) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run("generated:4", out=tmp_path / "r", record="answers", on_progress=stop, **ASKED)
    found = analyze_run(open_run(tmp_path / "r"))
    assert not found["accuracy"].ok and found.info["n_problems"] == 0
