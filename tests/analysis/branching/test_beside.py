"""Branches as a part of an analysis: which are shown, what is warned of, what states and
continuations are called."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import toy
from toy import Toy

from diffengine.analysis.branching import beside
from diffengine.analysis.branching.answers import NAMES
from diffengine.analysis.branching.beside import Branches, read_branches
from diffengine.analysis.branching.branch_runs import read_branch_runs
from diffengine.engine.store import DamagedRun, NotARun

TOYS = [Toy(seed) for seed in range(6)]
TEXTS = [each.greedy() for each in TOYS]
GOLDS = [toy.answer_of(text) for text in TEXTS]


def found(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, *branches: Any, **of_parent: Any
) -> Branches:
    """What an analysis reads beside the toy's run, where these branch runs lie there."""
    parent = toy.parent_run(TOYS, TEXTS, GOLDS, **of_parent)
    parent.path = tmp_path
    runs = {run.path.name: run for run in branches}
    for name in runs:
        folder = tmp_path / "branches" / name
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "run.json").write_text("{}")

    def opened(path: Path) -> Any:
        run = runs[path.name]
        if isinstance(run.info, Exception):
            raise run.info
        return run

    monkeypatch.setattr("diffengine.analysis.branching.branch_runs.open_run", opened)
    branches_found = read_branches(parent, metrics={}, steps=toy.LENGTH, seed=0)
    assert branches_found is not None
    return branches_found


def run(name: str, **changes: Any) -> Any:
    return toy.branch_run(TOYS, TEXTS, GOLDS, name=name, **{"samples": 8, **changes})


def test_no_folder_no_branches(tmp_path: Path) -> None:
    parent = toy.parent_run(TOYS, TEXTS, GOLDS)
    parent.path = tmp_path
    assert read_branches(parent, metrics={}, steps=3, seed=0) is None
    (tmp_path / "branches" / "empty").mkdir(parents=True)
    assert read_branches(parent, metrics={}, steps=3, seed=0) is None


def test_what_is_said_of_them(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    made = found(monkeypatch, tmp_path, run("a"))
    assert made.shown is not None and tuple(made.shown.quantities) == NAMES
    assert made.warnings == []
    info = made.info
    assert info["described"] == "R = 8, temperature 1, policy llada"
    assert (info["runs"], info["at"], info["end"], info["samples"]) == (["a"], [0, 1, 2], 3, 8)
    assert (info["n_problems"], info["missing"], info["expected"]) == (6, 0, 6 * 3 * 8)


@pytest.mark.parametrize(
    ("own", "of_branches", "law", "mutual"),
    [
        (0.0, 1.0, "states of the greedy run, continued at temperature 1", False),
        (0.7, 0.7, "states drawn at temperature 0.7, continued at temperature 0.7", True),
        (0.0, 0.0, "states of the greedy run, continued at temperature 0", False),
        (0.7, 1.0, "states drawn at temperature 0.7, continued at temperature 1", False),
    ],
)
def test_states_and_continuations_are_told_apart(
    own: float,
    of_branches: float,
    law: str,
    mutual: bool,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> None:
    made = found(monkeypatch, tmp_path, run("a", temperature=of_branches, seed=4), temperature=own)
    assert made.info["law"] == law and made.info["is_mutual_information"] is mutual
    assert made.shown is not None
    for name in NAMES:
        assert made.shown.quantities[name].label.endswith(law), name


def test_the_branches_with_the_most_states_are_shown_and_the_others_named(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    made = found(
        monkeypatch,
        tmp_path,
        run("a", temperature=0.5, at=(0, 2), samples=4),
        run("b"),
        run("c", temperature=2.0, lost=["p0@0.0#0"]),
    )
    assert made.info["runs"] == ["b"] and len(made.info["others"]) == 2
    hot, cold = made.info["others"]
    assert hot.startswith("c: R = 8, temperature 2, policy llada, H(A | x_t) ")
    assert "bits (step 0) -> " in cold and "(step 2)" in cold
    assert cold.endswith("R = 4 cannot tell more than 2 bits apart")
    alone = found(monkeypatch, tmp_path / "alone", run("b"))
    assert made.shown is not None and alone.shown is not None
    np.testing.assert_array_equal(made.shown.draws.counts, alone.shown.draws.counts)


def test_what_is_missing_is_warned_of(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    made = found(monkeypatch, tmp_path, run("a", lost=["p0@0.0#0", "p3@2.0#7"]))
    assert made.info["missing"] == 2
    assert made.warnings == [
        "branches unfinished: 2 branches missing in a; problems are left out of the steps at which they "
        "have fewer than 8 (run the same `diffengine branch` again)"
    ]
    some = toy.branch_run(TOYS[:4], TEXTS[:4], GOLDS[:4], samples=8, name="a")
    made = found(monkeypatch, tmp_path, some)
    assert made.warnings == [
        "no branches of 2 of 6 decodings: answer information is of the others alone"
    ]
    assert made.info["n_problems"] == 4 and made.info["not_branched"] == 2


def test_branch_runs_that_cannot_be_used(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    damaged, foreign, ordinary, lacking = (run(name) for name in "abcd")
    damaged.info = DamagedRun("shard x is cut short")
    foreign.info["branches"]["parent"]["run_id"] = "another"
    del ordinary.info["branches"]
    del lacking.info["branches"]["noise"]
    gone = run("f")
    gone.info = NotARun("no manifest")
    made = found(monkeypatch, tmp_path, damaged, foreign, ordinary, lacking, run("e"), gone)
    assert made.info["runs"] == ["e"]
    assert made.warnings == [
        "branch run a is left out: shard x is cut short",
        "branch run b is left out: it branches from the run another, not from this one; move it "
        "into that run",
        "branch run c is left out: its run.json has no `branches`, so it is an ordinary run; move "
        "it elsewhere",
        "branch run d is left out: its run.json lacks branches.noise; branch again",
        "branch run f is left out: no manifest",
    ]


def test_nothing_with_noise_of_its_own(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    made = found(monkeypatch, tmp_path, run("a", samples=1, noise="parent"))
    assert made.shown is None and made.info == {} and made.warnings == []


def test_a_run_without_steps_has_no_place_for_branches(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    parent = toy.parent_run(TOYS, TEXTS, GOLDS)
    parent.path = tmp_path
    del parent._columns["performed"]
    (tmp_path / "branches" / "a").mkdir(parents=True)
    (tmp_path / "branches" / "a" / "run.json").write_text("{}")
    made = read_branches(parent, metrics={}, steps=3, seed=0)
    assert made is not None and made.shown is None and beside.UNREADABLE in made.warnings[0]


def test_damage_that_shows_only_when_it_is_read(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    def damaged(*_: Any) -> Any:
        raise DamagedRun("chunk does not fit its checksum")

    monkeypatch.setattr(beside, "read_draws", damaged)
    made = found(monkeypatch, tmp_path, run("a"))
    assert made.warnings == ["branches a are left out: chunk does not fit its checksum"]
    assert made.shown is None


def test_a_folder_without_run_json_is_no_branch_run(tmp_path: Path) -> None:
    parent = toy.parent_run(TOYS, TEXTS, GOLDS)
    parent.path = tmp_path
    (tmp_path / "branches" / "notes").mkdir(parents=True)
    (tmp_path / "branches" / "file").write_text("")
    assert read_branch_runs(parent) == ([], [])
