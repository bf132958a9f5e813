"""A saved analysis beside a run that has gone on: whoever reads it is told, and the report computes
its curves anew."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import h5py
import pytest
from click.testing import CliRunner

from diffengine.analysis.analyze import analyze_run
from diffengine.analysis.compare.paired_runs import compare_pairs
from diffengine.analysis.compare.side_by_side import compare_text
from diffengine.analysis.results import Analysis, load_analysis, save_analysis
from diffengine.analysis.show.dashboard import caveats
from diffengine.analysis.show.report import page_data
from diffengine.analysis.show.summary import summarise
from diffengine.engine.cli.command_line import group
from diffengine.engine.models.loading import MaskedDiffusionModel
from diffengine.engine.runs.plan import BUNDLED
from diffengine.engine.runs.run import run
from diffengine.engine.store import open_run

SHORT: dict[str, Any] = {"steps": 8, "gen_length": 8, "block_length": 4}


@pytest.fixture(scope="module")
def model() -> Iterator[MaskedDiffusionModel]:
    from diffengine.engine.models.loading import load_model

    yield load_model(BUNDLED, device="cpu", dtype="float32")


@pytest.fixture
def grown(model: MaskedDiffusionModel, tmp_path: Path) -> Path:
    """Analysed when it had 4 problems; now it has 10."""
    out = tmp_path / "run"
    run("samples", limit=4, out=out, model=model, **SHORT)
    save_analysis(analyze_run(open_run(out)), out / "analysis.h5")
    assert "stale" not in load_analysis(out / "analysis.h5").info
    run("samples", out=out, model=model, **SHORT)
    return out


def page_of(path: Path) -> dict[str, Any]:
    data = re.search(
        r'<script id="page-data" type="application/json">(.*?)</script>', path.read_text(), re.S
    )
    assert data is not None
    return dict(json.loads(data[1]))


def test_every_reader_is_told_and_the_report_computes_anew(grown: Path) -> None:
    analysis = load_analysis(grown / "analysis.h5")
    said = "this analysis is of 4 problems, the run now holds 10"
    assert said in analysis.info["stale"]
    assert f"STALE: {said}" in summarise(analysis) and f"STALE: {said}" in caveats(analysis)[-1]
    assert said in page_data(open_run(grown), analysis, max_problems=9)["stale"]
    done = CliRunner().invoke(group, ["report", str(grown)])
    assert done.exit_code == 0 and said in done.output and "computed anew" in done.output
    page = page_of(grown / "report.html")
    counts = {
        line["n"]
        for chart in page["charts"]
        for line in chart["lines"]
        if line["label"] == "first hit"
    }
    assert (page["n_stored"], page["stale"], counts) == (10, "", {10})


def test_as_many_other_problems_and_no_digest_are_seen_too(grown: Path) -> None:
    now = analyze_run(open_run(grown))
    save_analysis(now, grown / "analysis.h5")
    assert "stale" not in load_analysis(grown / "analysis.h5").info
    manifest = next(grown.glob("manifest-*.jsonl"))
    text = manifest.read_text()
    manifest.write_text(text.replace('"sha256": "', '"sha256": "0', 1))
    assert "other problems or shards" in load_analysis(grown / "analysis.h5").info["stale"]
    manifest.write_text(text)
    with h5py.File(grown / "analysis.h5", "r+") as file:  # as an earlier version wrote it
        records = json.loads(file["records"][()])
        del records["info"]["seen"], file["records"]
        file["records"] = json.dumps(records)
    assert "does not say which problems" in load_analysis(grown / "analysis.h5").info["stale"]


def test_an_unfinished_run_says_so_beside_every_figure(
    model: MaskedDiffusionModel, tmp_path: Path
) -> None:
    def stop(progress: Any) -> None:
        if progress.done == 6:
            raise KeyboardInterrupt

    from diffengine.engine.runs.run import Execution

    few = Execution(token_budget=150, shard_problems=2)
    with pytest.raises(KeyboardInterrupt):
        run("samples", out=tmp_path, model=model, execution=few, on_progress=stop, **SHORT)
    stored = open_run(tmp_path)
    analysis = analyze_run(stored)
    missing = 10 - len(stored)
    assert 0 < missing < 10 and sorted(analysis.info["missing"]) == sorted(stored.missing)
    note = f"unfinished: {missing} of 10 problems missing ("
    lines = summarise(analysis).splitlines()
    accuracy = next(line for line in lines if line.startswith("accuracy "))
    assert (
        f"for the whole of 10 from {len(stored)} drawn at random" in accuracy
        and f"{missing} of 10" in accuracy
    )
    figures = [line for line in lines if re.search(r"n = \d", line)]
    assert figures and all("unfinished" in line for line in figures)
    assert note[1:] in caveats(analysis)[0][1:] and note in compare_text([analysis, analysis])
    page = page_data(stored, analysis, max_problems=20)
    assert page["unfinished"].startswith(note) and page["whole_interval"] and page["stale"] == ""
    said = CliRunner().invoke(group, ["inspect", str(tmp_path)]).output
    assert all(
        note in line
        for line in said.splitlines()
        if line.startswith(("stored ", "correct ", "wrong "))
    )
    facts = json.loads(CliRunner().invoke(group, ["inspect", str(tmp_path), "--json"]).output)
    assert sorted(facts["missing_ids"]) == sorted(stored.missing) and facts["missing"] == missing


def test_runs_are_paired_by_problem_not_by_row(model: MaskedDiffusionModel, tmp_path: Path) -> None:
    """Eight problems against six others of which four are shared, in another order; one id has
    another question."""
    analyses: list[Analysis] = []
    texts = [f"What is {i} plus {i}?" for i in range(10)]
    for name, chosen in (("one", range(8)), ("two", [9, 3, 8, 2, 1, 0])):
        source = tmp_path / f"{name}.jsonl"
        said = {i: texts[i] + (" Now." if (name, i) == ("two", 0) else "") for i in chosen}
        rows = [{"id": f"p{i}", "question": text, "answer": str(2 * i)} for i, text in said.items()]
        source.write_text("".join(json.dumps(row) + "\n" for row in rows))
        analyses.append(
            analyze_run(open_run(run(source, out=tmp_path / name, model=model, **SHORT).path))
        )
    (pairs,) = compare_pairs(
        analyses, ["accuracy", "emergence/hits_lost", "early_exit/hindsight/steps"]
    )
    ids = [
        [str(one.problems["id"][row]) for row in pairs.rows[:, side]]
        for side, one in enumerate(analyses)
    ]
    assert ids[0] == ids[1] and sorted(ids[0]) == ["p1", "p2", "p3"]
    assert (pairs.first_alone, pairs.second_alone, pairs.other_content) == (4, 2, 1)
    assert all(
        result.difference == 0 and result.n == 3 for result in pairs.results.values()
    )  # the same model
    text = compare_text(analyses)
    assert text.index("two against one, problem by problem") < text.index("Runs side by side")
    assert (
        "over the 3 problems that both runs have (4 only in one, 2 only in two, 1 with one id but"
        in text
    )
    assert text.count("problem by problem\n") == 1
    assert compare_text([*analyses, analyses[0]]).count("problem by problem\n") == 2
