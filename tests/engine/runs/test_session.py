"""What an onlooker is told: while a run goes on, after it, and after it was killed."""

from __future__ import annotations

import json
import logging
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from diffengine.engine.cli.command_line import group
from diffengine.engine.decoding.phases import NAMES
from diffengine.engine.models.loading import MaskedDiffusionModel
from diffengine.engine.runs import session as status
from diffengine.engine.runs.run import Execution, Progress, run

SHORT: dict[str, Any] = {"steps": 8, "gen_length": 8, "block_length": 4}


def inspected(out: Path) -> dict[str, Any]:
    said = CliRunner().invoke(group, ["inspect", str(out), "--json"])
    assert said.exit_code == 0, said.output
    return dict(json.loads(said.output))


def test_an_onlooker_sees_the_run_go_on(
    bundled_model: MaskedDiffusionModel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(status, "EVERY_SECONDS", 0.0)
    seen: list[dict[str, Any]] = []

    def look(progress: Progress) -> None:
        if progress.done in (3, 7):
            seen.append(inspected(tmp_path))

    execution = Execution(token_budget=150, shard_problems=2)
    run(
        "samples", out=tmp_path, model=bundled_model, execution=execution, on_progress=look, **SHORT
    )
    assert [(s["state"], s["session"]["done"]) for s in seen] == [("running", 3), ("running", 7)]
    assert all(
        s["session"]["problems_per_hour"] > 0 and s["session"]["eta_seconds"] > 0 for s in seen
    )
    after = inspected(tmp_path)
    assert (after["state"], after["stored"], after["session"]["eta_seconds"]) == (
        "finished",
        10,
        None,
    )


def test_each_session_leaves_its_record(
    bundled_model: MaskedDiffusionModel, tmp_path: Path
) -> None:
    def stop(progress: Progress) -> None:
        if progress.done == 4:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run(
            "samples",
            out=tmp_path,
            model=bundled_model,
            execution=Execution(token_budget=150),
            on_progress=stop,
            **SHORT,
        )
    run("samples", out=tmp_path, model=bundled_model, **SHORT)
    first, second = (
        json.loads(line) for line in (tmp_path / "sessions.jsonl").read_text().splitlines()
    )
    assert (first["state"], second["state"]) == ("interrupted", "finished")
    work = second["workers"]["0"]
    assert set(work["seconds"]) == set(NAMES)
    assert 0 < sum(work["seconds"].values()) <= second["session_seconds"]
    assert 0 < work["write_seconds"] <= second["session_seconds"]
    assert work["forwards"] == 8  # all that was left fits on one canvas, so every step is one pass
    assert work["packed_tokens"] > work["head_rows"] == 8 * 8 * second["done"]
    busy = sum(work["seconds"].values())
    assert work["mfu_share_of_gemm"] == pytest.approx(
        work["flops"] / busy / work["gemm_flops_per_second"], abs=1e-3
    )
    told = inspected(tmp_path)["sessions"]
    assert [(s["state"], s["done"]) for s in told] == [
        ("interrupted", 4),
        ("finished", second["done"]),
    ]
    assert told[1]["mfu_share_of_gemm"] == pytest.approx(work["mfu_share_of_gemm"], abs=1e-3)


def test_the_log_of_a_session_has_more_than_warnings(tmp_path: Path) -> None:
    logger = logging.getLogger("diffengine")
    before = logger.level
    with status.Session(tmp_path, devices=["cpu"]):
        logging.getLogger("diffengine.engine.runs.cluster.ray_session").info("ray: a worker died")
    logging.getLogger("diffengine.engine.runs.cluster.ray_session").warning("too late")
    assert logger.level == before
    assert (
        "INFO diffengine.engine.runs.cluster.ray_session: ray: a worker died"
        in (tmp_path / "logs" / "driver.log").read_text()
    )
    assert "too late" not in (tmp_path / "logs" / "driver.log").read_text()


def test_a_session_lasts_as_long_as_it_lasts_whatever_the_clock_says(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = iter([1000.0, 400.0, 300.0, 200.0, 100.0, 50.0, 25.0])
    monkeypatch.setattr(status.time, "time", lambda: next(now))
    with status.Session(tmp_path, devices=["cpu"]) as session:
        for done in range(2):
            monkeypatch.setattr(status, "EVERY_SECONDS", 0.0)
            session.update({"done": done, "total": 2})
        found = status.read_status(tmp_path)
    assert found is not None and found["done"] == 1
    assert 0 <= json.loads((tmp_path / "sessions.jsonl").read_text())["session_seconds"] < 60


def test_the_mfu_of_several_workers_weighs_each_by_what_it_could_have_done(tmp_path: Path) -> None:
    fast = {"seconds": {"forward": 1.0, "finish": 1.0}, "flops": 80, "gemm_flops_per_second": 100}
    slow = {"seconds": {"forward": 4.0}, "flops": 10, "gemm_flops_per_second": 10}
    lines = [
        {"state": "finished", "workers": {"w0": fast, "w1": slow}},
        {"state": "failed", "workers": {}},
    ]
    (tmp_path / "sessions.jsonl").write_text(
        "".join(json.dumps(one) + "\n" for one in lines) + "{half"
    )
    assert [s["mfu_share_of_gemm"] for s in status.read_sessions(tmp_path)] == [90 / 240, None]
    assert status.read_sessions(tmp_path / "nowhere") == []


def test_a_killed_run_is_called_so(tmp_path: Path) -> None:
    here = status.this_process()
    record = {
        "state": "running",
        "process": str(here._replace(pid=2**22 + 1)),
        "done": 5,
        "seconds": 10.0,
        "total": 20,
    }
    (tmp_path / "progress.json").write_text(json.dumps(record))
    found = status.read_status(tmp_path)
    assert found is not None
    assert (found["state"], found["problems_per_hour"], found["eta_seconds"]) == (
        "killed",
        1800.0,
        None,
    )
    counts = {
        "process": str(here),
        "resumed": 4,
        "failed": 1,
    }  # of 20, 10 are left, at one in two seconds
    (tmp_path / "progress.json").write_text(json.dumps(record | counts))
    found = status.read_status(tmp_path)
    assert found is not None
    assert (found["state"], found["eta_seconds"]) == ("running", 20.0)
    (tmp_path / "progress.json").write_text(json.dumps(record | counts | {"begun": 5.0}))
    found = status.read_status(tmp_path)
    assert found is not None
    assert (found["problems_per_hour"], found["eta_seconds"]) == (3600.0, 5.0)
    (tmp_path / "progress.json").write_text("{half")
    assert status.read_status(tmp_path) is None
