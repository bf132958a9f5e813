"""A sweep, end to end on the bundled model: its runs, that it goes on after a kill, and what it
refuses before anything is written."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import diffengine as de
from diffengine.analysis.compare.generations import read_generations
from diffengine.analysis.compare.standing import (
    NEVER_DIVERGED,
    TOKENS_PER_FORWARD,
    standings,
)
from diffengine.engine.config import ConfigError
from diffengine.engine.models.loading import MaskedDiffusionModel
from diffengine.engine.registry import UnknownNameError
from diffengine.engine.runs import sweep as sweep_module
from diffengine.engine.runs.factors import Factor
from diffengine.engine.runs.sweep import SweepProgress, SweepResult
from diffengine.engine.runs.sweep_json import read_sweep, runs_of_sweep
from diffengine.engine.store import RunLocked, open_run, verify_run
from diffengine.engine.store.lock import RunLock

SHORT = {"gen_length": 8, "block_length": 4}
STRANGER = "threshold_policy:ThresholdPolicy"
STRANGERS = Path(__file__).parents[1] / "policies" / "strangers"


@pytest.fixture(autouse=True)
def strangers(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(STRANGERS))


def swept(model: MaskedDiffusionModel, out: Path, **more: Any) -> SweepResult:
    return de.sweep("generated:4", model=model, out=out, **(SHORT | more))


def test_a_grid_and_the_exact_run(bundled_model: MaskedDiffusionModel, tmp_path: Path) -> None:
    seen: list[SweepProgress] = []
    result = swept(bundled_model, tmp_path / "s", steps=[2, 4, 8], on_progress=seen.append)
    assert [run.name for run in result.runs] == ["exact", "llada-steps-2", "llada-steps-4"]
    assert {run.reference for run in result.runs} == {"exact"}
    assert [run.result.done for run in result.runs] == [4, 4, 4]
    for run, steps in zip(result.runs, (8, 2, 4), strict=True):
        held = open_run(run.result.path)
        assert held.info["config"]["steps"] == steps
        assert (held["n_forwards"][...] == steps).all()
        assert verify_run(run.result.path).ok
    assert {(each.number, each.runs) for each in seen} == {(1, 3), (2, 3), (3, 3)}
    content = json.loads((tmp_path / "s" / "sweep.json").read_text())
    assert [run["settings"]["steps"] for run in content["runs"]] == [8, 2, 4]
    assert runs_of_sweep(tmp_path / "s") == [run.result.path for run in result.runs]


def test_a_threshold_that_nothing_reaches_strays_nowhere(
    bundled_model: MaskedDiffusionModel, tmp_path: Path
) -> None:
    result = swept(bundled_model, tmp_path / "s", policy="threshold", threshold=[1.1, 0.3])
    runs = [read_generations(open_run(run.result.path)) for run in result.runs]
    _, tight, loose = standings(runs)
    assert tight.quantities[NEVER_DIVERGED].values == 1
    assert tight.quantities[TOKENS_PER_FORWARD].values == 1
    assert loose.quantities[TOKENS_PER_FORWARD].values > 1


def test_each_policy_and_value_is_a_run(
    bundled_model: MaskedDiffusionModel, tmp_path: Path
) -> None:
    result = swept(
        bundled_model, tmp_path / "s", policy=["llada", STRANGER], threshold=[0.5, 0.9], steps=4
    )
    assert [run.name for run in result.runs] == [
        "exact-block_length-4",
        "exact-block_length-8",
        "llada",
        "threshold_policy-ThresholdPolicy-threshold-0.5",
        "threshold_policy-ThresholdPolicy-threshold-0.9",
    ]


def test_seeds_are_measured_from_the_first(
    bundled_model: MaskedDiffusionModel, tmp_path: Path
) -> None:
    result = swept(bundled_model, tmp_path / "s", seed=[0, 1], temperature=0.5)
    assert [(run.name, run.reference) for run in result.runs] == [
        ("exact-seed-0", "exact-seed-0"),
        ("exact-seed-1", "exact-seed-0"),
    ]


def test_without_the_exact_run_the_first_is_the_reference(
    bundled_model: MaskedDiffusionModel, tmp_path: Path
) -> None:
    result = swept(bundled_model, tmp_path / "s", steps=[2, 4], exact=False)
    assert [(run.name, run.reference) for run in result.runs] == [
        ("llada-steps-2", "llada-steps-2"),
        ("llada-steps-4", "llada-steps-2"),
    ]


KILLED = """
import os, signal, sys
import diffengine as de
from diffengine.analysis.compare.generations import read_generations
from diffengine.analysis.compare.standing import (
    NEVER_DIVERGED,
    TOKENS_PER_FORWARD,
    standings,
)
count = 0
def on_progress(progress):
    global count
    count += 1
    if count == int(sys.argv[2]):
        os.kill(os.getpid(), signal.SIGKILL)
de.sweep("generated:4", out=sys.argv[1], steps=[2, 4], gen_length=8, block_length=4, on_progress=on_progress)
"""


def test_killed_in_the_middle_it_goes_on(
    bundled_model: MaskedDiffusionModel, tmp_path: Path
) -> None:
    """Killed in its second run; the same call makes what a sweep without a kill makes."""
    out = tmp_path / "s"
    done = subprocess.run([sys.executable, "-P", "-c", KILLED, str(out), "7"], timeout=120)
    assert done.returncode == -signal.SIGKILL
    assert sorted(path.name for path in out.iterdir() if path.is_dir()) == [
        "exact",
        "llada-steps-2",
    ]
    result = swept(bundled_model, out, steps=[2, 4])
    assert [run.result.resumed for run in result.runs][0] == 4
    whole = swept(bundled_model, tmp_path / "whole", steps=[2, 4])
    for run, other in zip(result.runs, whole.runs, strict=True):
        a, b = open_run(run.result.path), open_run(other.result.path)
        assert a.ids == b.ids
        assert np.array_equal(a["token"][...], b["token"][...])
    again = swept(bundled_model, out, steps=[2, 4])
    assert [(run.result.done, run.result.resumed) for run in again.runs] == [(0, 4)] * 3


def test_more_values_go_into_the_same_directory(
    bundled_model: MaskedDiffusionModel, tmp_path: Path
) -> None:
    out = tmp_path / "s"
    swept(bundled_model, out, steps=[2, 4])
    result = swept(bundled_model, out, steps=[6, 2])
    assert [(run.name, run.result.resumed) for run in result.runs] == [
        ("exact", 4),
        ("llada-steps-6", 0),
        ("llada-steps-2", 4),
    ]
    content = read_sweep(out / "sweep.json")
    assert content is not None
    assert [run["name"] for run in content["runs"]] == [
        "exact",
        "llada-steps-6",
        "llada-steps-2",
        "llada-steps-4",
    ]


def test_the_same_call_finds_its_directory(
    bundled_model: MaskedDiffusionModel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    one = de.sweep("generated:2", model=bundled_model, steps=[4, 2], **SHORT)
    two = de.sweep("generated:2", model=bundled_model, steps=(2, 4), **SHORT)
    other = de.sweep("generated:2", model=bundled_model, steps=(6, 4), **SHORT)
    assert one.path == two.path != other.path
    assert one.path.name.startswith("sweep-generated-2-")


@pytest.mark.parametrize("damage", ["lost", "cut", "changed"])
def test_a_spoilt_sweep_json_is_written_again(
    bundled_model: MaskedDiffusionModel, tmp_path: Path, damage: str
) -> None:
    out = tmp_path / "s"
    swept(bundled_model, out, steps=[2, 4])
    path = out / "sweep.json"
    before = path.read_text()
    if damage == "lost":
        path.unlink()
    else:
        path.write_text(before[:50] if damage == "cut" else before.replace("exact", "exakt"))
    assert [run.result.resumed for run in swept(bundled_model, out, steps=[2, 4]).runs] == [4] * 3
    assert json.loads(path.read_text())["runs"] == json.loads(before)["runs"]


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"steps": [2, 3]}, "steps 3 is not a multiple of the 2 blocks"),
        ({"steps": [2, 4], "block_length": [4, 3]}, "block_length 3 does not divide"),
        ({"steps": [8], "policy": [STRANGER, "llada"], "threshold": 2.0}, "threshold is 2.0"),
        ({"steps": [2, 4], "save_logits": ["none", "topk"]}, "save_logits has 2 values"),
    ],
)
def test_refused_before_anything_is_written(
    bundled_model: MaskedDiffusionModel, tmp_path: Path, settings: dict[str, Any], said: str
) -> None:
    with pytest.raises(ConfigError, match=said):
        swept(bundled_model, tmp_path / "s", **settings)
    with pytest.raises(UnknownNameError):
        swept(bundled_model, tmp_path / "s", policy="threshhold")
    assert list(tmp_path.iterdir()) == []


def test_another_sweep_is_never_mixed_in(
    bundled_model: MaskedDiffusionModel, tmp_path: Path
) -> None:
    out = tmp_path / "s"
    swept(bundled_model, out, steps=[2, 4])
    before = (out / "sweep.json").read_bytes()
    with pytest.raises(ConfigError, match="data 'generated:4' .* there, 'generated:5' .* now"):
        de.sweep("generated:5", model=bundled_model, out=out, steps=[2, 4], **SHORT)
    with pytest.raises(ConfigError, match="with temperature 0.0 there, 0.5 now"):
        swept(bundled_model, out, steps=[2, 4], temperature=0.5)
    assert (out / "sweep.json").read_bytes() == before
    with pytest.raises(ConfigError, match="exact: is a run"):
        swept(bundled_model, out / "exact", steps=[2, 4])


def test_a_directory_of_something_else_is_left_alone(
    bundled_model: MaskedDiffusionModel, tmp_path: Path
) -> None:
    (tmp_path / "letter.txt").write_text("dear")
    with pytest.raises(ConfigError, match="not a sweep .no sweep.json, but letter.txt."):
        swept(bundled_model, tmp_path, steps=[2, 4])
    with pytest.raises(ConfigError, match="is a file"):
        swept(bundled_model, tmp_path / "letter.txt", steps=[2, 4])
    assert [path.name for path in tmp_path.iterdir()] == ["letter.txt"]


def test_one_command_at_a_time(bundled_model: MaskedDiffusionModel, tmp_path: Path) -> None:
    out = tmp_path / "s"
    out.mkdir()
    with RunLock(out), pytest.raises(RunLocked):
        swept(bundled_model, out, steps=[2, 4])


def test_a_disk_too_small_for_all_together(
    bundled_model: MaskedDiffusionModel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Room for each of the runs, but not for the three."""
    room = 10_000_000
    monkeypatch.setattr(sweep_module, "free_disk", lambda out: room)
    monkeypatch.setattr(sweep_module, "disk_need", lambda *what: [Factor("x", 0.6 * room, "")])
    with pytest.raises(ConfigError, match=r"this sweep of 3 runs needs \d"):
        swept(bundled_model, tmp_path / "s", steps=[2, 4])
    with pytest.raises(ConfigError, match="this sweep of 2 runs needs up to "):
        swept(bundled_model, tmp_path / "s", policy="threshold", threshold=[0.9])
    assert not (tmp_path / "s").exists()
