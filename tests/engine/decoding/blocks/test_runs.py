"""Runs of a model that attends block by block: the same values for any number of workers, with a
cache or without it in any portion, and however often a run was killed."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from diffengine.engine.models.loading import MaskedDiffusionModel
from diffengine.engine.runs.cluster import crew
from diffengine.engine.runs.execution import Execution
from diffengine.engine.runs.run import run
from diffengine.engine.store import open_run, verify_run

from ...runs.ray_in_process import started_ray

N = 9
SETTINGS: dict[str, Any] = {
    "gen_length": 14,
    "block_length": 4,
    "remasking_strategy": "low_confidence_dynamic",
    "confidence_threshold": 0.35,
    "save_logits": "hidden",
}


KILLED = """
import json, os, signal, sys
from diffengine.engine.models.loading import load_model
from diffengine.engine.runs.run import Execution, run
import diffengine.engine.policies.sdar

model = load_model(sys.argv[1], device="cpu")
for at in (2, 4, 6):
    def end(progress):
        if progress.done + progress.resumed >= at:
            os.kill(os.getpid(), signal.SIGKILL)
    child = os.fork()
    if child == 0:
        execution = Execution(token_budget=120, shard_problems=1)
        run("generated:9", out=sys.argv[2], model=model, execution=execution, on_progress=end,
            **json.loads(sys.argv[3]))
        os._exit(1)
    print(os.WTERMSIG(os.waitpid(child, 0)[1]), flush=True)
"""
"""Three times begun, and killed once so many problems are done; forks of a process without threads,
in which the model is loaded."""


def decode(out: Path, model: MaskedDiffusionModel | Path, **more: Any) -> None:
    run(f"generated:{N}", out=out, model=model, **SETTINGS, **more)


def assert_same_runs(ours: Path, theirs: Path) -> None:
    """Everything that is stored, bit by bit, but how long each problem took."""
    with open_run(ours) as a, open_run(theirs) as b:
        assert a.ids == b.ids and len(a.ids) == N
        assert a.variables == b.variables
        for name in a.variables:
            one, other = a[name][...], b[name][...]
            if name == "seconds":
                continue
            if one.dtype.kind in "fiu":
                assert one.tobytes() == other.tobytes(), name
            else:
                assert np.array_equal(one, other), name
    report = verify_run(ours)
    assert report.ok, report.findings


@pytest.fixture(scope="module")
def whole(sdar: MaskedDiffusionModel, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The run on one device, all at once."""
    out = tmp_path_factory.mktemp("whole") / "run"
    decode(out, sdar)
    return out


def test_in_any_portions(sdar: MaskedDiffusionModel, whole: Path, tmp_path: Path) -> None:
    execution = Execution(token_budget=120, shard_problems=2, refill=False)
    decode(tmp_path / "run", sdar, execution=execution)
    assert len(list((tmp_path / "run" / "shards").glob("*.h5"))) > 3
    assert_same_runs(tmp_path / "run", whole)


def test_two_workers_are_one(
    sdar_path: Path, whole: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(crew, "started_ray", started_ray)
    execution = Execution(device="cpu", workers=2, token_budget=120)
    decode(tmp_path / "run", sdar_path, execution=execution)
    workers = {path.name for path in (tmp_path / "run").glob("manifest-*.jsonl")}
    assert len(workers) == 2
    assert_same_runs(tmp_path / "run", whole)


def test_killed_and_run_again_is_as_if_nothing_had_happened(
    sdar: MaskedDiffusionModel, whole: Path, tmp_path: Path
) -> None:
    out = tmp_path / "run"
    killed = subprocess.run(
        [sys.executable, "-P", "-c", KILLED, str(sdar.path), str(out), json.dumps(SETTINGS)],
        env=os.environ | {"PYTHONPATH": os.pathsep.join(p for p in sys.path if p)},
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert killed.stdout.split() == [str(signal.SIGKILL.value)] * 3, killed.stderr
    there = len(list((out / "shards").glob("*.h5")))
    assert 0 < there < N
    decode(out, sdar, execution=Execution(token_budget=120, shard_problems=1))
    assert_same_runs(out, whole)


def test_with_a_cache_as_without_up_to_rounding(
    sdar: MaskedDiffusionModel, whole: Path, tmp_path: Path
) -> None:
    decode(tmp_path / "run", sdar, execution=Execution(cache=False))
    with open_run(tmp_path / "run") as a, open_run(whole) as b:
        assert a.info["fingerprint"] == b.info["fingerprint"]  # the same results, so the same run
        for name in ("token", "committed", "n_forwards", "generated_text", "open_start"):
            assert np.array_equal(a[name][...], b[name][...]), name
        for name in ("entropy", "kl", "logprob", "answer_logprob", "hidden", "cka"):
            np.testing.assert_allclose(
                a[name][...], b[name][...], atol=1e-4, rtol=1e-4, err_msg=name
            )
