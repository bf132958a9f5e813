"""Branches of a run of several samples: which problem they count for, in which order they are
drawn, what a cut leaves, and what run.json says of how much was asked."""

from __future__ import annotations

import json
from collections.abc import Callable
from itertools import groupby
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from diffengine.analysis.errors import SettingError
from diffengine.engine.branching.branch import branch
from diffengine.engine.cli.command_line import group
from diffengine.engine.models.loading import MaskedDiffusionModel
from diffengine.engine.runs.execution import Execution
from diffengine.engine.runs.run import Progress, RunResult
from diffengine.engine.runs.session import read_status
from diffengine.engine.store import Run, coverage, open_run, verify_run
from diffengine.engine.store.drawing import draw_key

ONE_ROW = Execution(token_budget=60, shard_problems=4)
SEVERAL: dict[str, Any] = {"temperature": 1.0, "samples": 2}


def published(path: Path) -> list[str]:
    """Ids in the order in which they were written."""
    lines = (path / "manifest-0.jsonl").read_text().splitlines()
    return [name for line in lines for name in json.loads(line)["problem_ids"]]


def asked_for(path: Path) -> dict[str, Any]:
    info: dict[str, Any] = json.loads((path / "run.json").read_text())
    return info


def test_branches_of_a_problem_follow_each_other_whichever_sample_they_leave(
    random_model: MaskedDiffusionModel, parent_of: Callable[..., Run]
) -> None:
    with parent_of(**SEVERAL) as parent:
        assert sorted(parent.ids) == ["a", "a#1", "b", "b#1", "c", "c#1"]
        result = branch(
            parent, at=[0, 6], samples=3, model=random_model, execution=ONE_ROW, ids=parent.ids
        )
    assert (result.finished, result.unit, result.problems) == ("36 branches", "branch", 3)
    with open_run(result.path) as branches:
        group_of = dict(zip(branches.ids, branches.groups, strict=True))
        parent_id = dict(zip(branches.ids, branches["parent_id"][...].tolist(), strict=True))
        held = coverage(branches)
    order = published(result.path)
    runs = [(name, len(list(rows))) for name, rows in groupby(order, key=group_of.__getitem__)]
    assert runs == [(name, 12) for name in sorted("abc", key=draw_key)]
    of_samples = [name for name, _ in groupby(order, key=parent_id.__getitem__)]
    assert of_samples == [each for name, _ in runs for each in (name, f"{name}#1")]
    assert (held.asked, held.problems, held.unit, held.note) == (36, 3, "branch", "")


def test_a_cut_leaves_problems_drawn_at_random(
    random_model: MaskedDiffusionModel, parent_of: Callable[..., Run]
) -> None:
    def stop(progress: Progress) -> None:
        assert (progress.total, progress.problems, progress.unit) == (36, 3, "branch")
        if progress.done == 15:
            raise KeyboardInterrupt

    more: dict[str, Any] = {"samples": 3, "model": random_model, "execution": ONE_ROW}
    with parent_of(**SEVERAL) as parent:
        with pytest.raises(KeyboardInterrupt):
            branch(parent, at=[0, 6], on_progress=stop, **more)
        (path,) = (parent.path / "branches").iterdir()
        with open_run(path) as cut:
            held = coverage(cut)
            first, second, last = sorted("abc", key=draw_key)
            assert set(cut.groups) == {first, second} and cut.groups.count(first) == 12
        missing = len(held.pending)
        assert held.random and (held.drawn, held.whole) == (2, 3)
        assert held.note.startswith(f"unfinished: {missing} of 36 branches missing (")
        assert held.scope == "for the whole of 3 from 2 drawn at random"
        status = read_status(path)
        assert status is not None and status["branches_per_hour"] > 0
        assert status["problems_per_hour"] == pytest.approx(
            status["branches_per_hour"] / 12, abs=0.1
        )
        assert branch(parent, at=[0, 6], **more).finished == "36 branches"
    report = verify_run(path)
    assert report.ok and (report.expected, report.unit) == (36, "branch")
    assert last in open_run(path).groups


def test_what_is_asked_grows_also_where_nothing_is_left_to_decode(
    random_model: MaskedDiffusionModel, parent_of: Callable[..., Run]
) -> None:
    """At the last step's canvas all is final: no branch is added, and yet the step was asked for,
    with the parent's own answer for certain."""
    with parent_of(temperature=1.0) as parent:
        first = branch(parent, at=[4], samples=2, model=random_model)
        before = asked_for(first.path)
        assert before["data"]["n_problems"] == 3
        more = branch(parent, at=[4, 12], samples=2, model=random_model)
        after = asked_for(more.path)
        assert (more.path, more.done, more.resumed) == (first.path, 0, 6)
        assert after["branches"] == before["branches"] | {"at": [4, 12]}
        assert after["problems_sha256"] == before["problems_sha256"]
        # Less is no change: not a byte of run.json.
        stored = (first.path / "run.json").read_bytes()
        branch(parent, at=[4], samples=1, noise="fresh", model=random_model)
        assert (first.path / "run.json").read_bytes() == stored
    assert verify_run(first.path).ok


def test_nothing_to_decode_is_no_branches(
    random_model: MaskedDiffusionModel, parent_of: Callable[..., Run]
) -> None:
    with parent_of(temperature=1.0) as parent:
        nothing = branch(parent, at=[12], samples=2, model=random_model)
    assert nothing.finished == "0 branches" and isinstance(nothing, RunResult)


def test_the_command_line_counts_branches(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    short = ["--steps", "4", "--gen-length", "8", "--block-length", "8", "--out", "run"]
    made = CliRunner().invoke(group, ["run", "--problems", "generated:1", *short])
    assert made.exit_code == 0 and "1 problem finished in run" in made.output
    done = CliRunner().invoke(group, ["branch", "run", "--at", "0", "--samples", "3"])
    assert done.exit_code == 0, done.output
    assert "branches at 1 step (0) of 1 decoding, 3 of each state" in done.output
    assert "cost: 3 branches, 12 forward passes, 3.0 times the parent's" in done.output
    assert "0/3 branches" in done.output and "3/3 branches" in done.output
    assert "3 branches finished in run" in done.output and "sample" not in done.output
    (path,) = Path("run/branches").iterdir()
    alone = CliRunner().invoke(group, ["analyze", str(path)])
    assert alone.exit_code != 0 and isinstance(alone.exception, SettingError)
    assert str(alone.exception).endswith("run, which reads them")
    checked = CliRunner().invoke(group, ["verify", str(path)])
    assert "whole; 1 shard, 3 of 3 branches" in checked.output
