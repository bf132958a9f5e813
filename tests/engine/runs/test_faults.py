"""What a run directory may suffer between two commands, or from a worker that was given up: nothing
is lost, nothing is counted twice, and the sum of hidden states stays that of the problems."""

from __future__ import annotations

import hashlib
import io
import json
import os
import shutil
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import h5py
import numpy as np
import pytest

from diffengine.engine.models.loading import MaskedDiffusionModel
from diffengine.engine.problems.normal_form import load_problems
from diffengine.engine.problems.read import read_problems
from diffengine.engine.runs.cluster import worker as cluster_worker
from diffengine.engine.runs.cluster.worker import Job, Worker, given_up_mark
from diffengine.engine.runs.plan import prompts_of as build_prompts
from diffengine.engine.runs.run import BUNDLED, Execution, Progress, run
from diffengine.engine.runs.session import Session
from diffengine.engine.store import RunLock, open_run, verify_run
from diffengine.engine.store.format.seal import append_seal
from diffengine.engine.store.process import this_process
from diffengine.engine.store.write.hidden_sums import GroupSum
from diffengine.engine.store.write.manifest import read_manifests

SHORT: dict[str, Any] = {"steps": 6, "gen_length": 6, "block_length": 3, "save_logits": "hidden"}


@pytest.fixture(scope="module")
def finished(bundled_model: MaskedDiffusionModel, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("finished") / "run"
    run("samples", out=out, model=bundled_model, execution=Execution(shard_problems=2), **SHORT)
    assert len(list((out / "shards").iterdir())) == 5
    return out


@pytest.fixture
def out(finished: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(finished, tmp_path / "run"))


def assert_whole(out: Path, n: int = 10) -> None:
    """Every problem once, in the shards, in the manifests and in the sums."""
    report = verify_run(out)
    assert report.complete, (report.findings, report.missing)
    named = [i for entry in read_manifests(out).entries.values() for i in entry.problem_ids]
    assert len(named) == len(set(named)) == n
    stored = open_run(out)
    total, count = stored.shard_sum("hidden_sum")
    assert count == n
    np.testing.assert_allclose(total, stored["hidden"][...].sum(0), atol=1e-3)


def cut_short(path: Path) -> None:
    os.truncate(path, path.stat().st_size - 40)


def cut_in_the_middle(path: Path) -> None:
    os.truncate(path, path.stat().st_size // 2)


def emptied(path: Path) -> None:
    os.truncate(path, 0)


@pytest.mark.parametrize("damage", [cut_short, cut_in_the_middle, emptied, Path.unlink])
def test_a_manifest_cut_anywhere_costs_nothing(
    out: Path, bundled_model: MaskedDiffusionModel, damage: Any
) -> None:
    before = {path.name: path.read_bytes() for path in (out / "shards").iterdir()}
    damage(out / "manifest-0.jsonl")
    for _ in range(2):
        result = run("samples", out=out, model=bundled_model, **SHORT)
        assert (result.done, result.resumed) == (0, 10)
        assert_whole(out)
    assert {path.name: path.read_bytes() for path in (out / "shards").iterdir()} == before


def test_a_manifest_cut_where_a_shard_is_damaged_too_costs_that_shard(
    out: Path, bundled_model: MaskedDiffusionModel
) -> None:
    emptied(out / "manifest-0.jsonl")
    shard = sorted((out / "shards").iterdir())[2]
    with h5py.File(shard) as file:
        at = file["hidden"].id.get_chunk_info(0).byte_offset
    content = bytearray(shard.read_bytes())
    content[at + 10] ^= 1
    shard.write_bytes(content)
    result = run("samples", out=out, model=bundled_model, **SHORT)
    assert (result.done, result.resumed) == (2, 8)
    assert_whole(out)


def leave_a_second_copy(
    out: Path, problems: list[str], model: MaskedDiffusionModel, scratch: Path
) -> str:
    """A shard of `problems` under a worker's name that no command of today has, with its manifest
    line."""
    run("samples", ids=problems, out=scratch, model=model, **SHORT)
    shard = next((scratch / "shards").iterdir())
    name = shard.name.replace("0-", "w7-", 1)
    shutil.copy(shard, out / "shards" / name)
    line = (scratch / "manifest-0.jsonl").read_text().replace(shard.name, name)
    (out / "manifest-w7.jsonl").write_text(line)
    return name


@pytest.mark.parametrize("count", [1, 2, 5])
def test_a_straggler_of_an_earlier_command_is_set_aside(
    out: Path, bundled_model: MaskedDiffusionModel, tmp_path: Path, count: int
) -> None:
    ids = open_run(out).ids[1 : 1 + count]  # of one shard in part, or of several
    name = leave_a_second_copy(out, ids, bundled_model, tmp_path / "other")
    info = json.loads((out / "run.json").read_text())
    rewrite_identity(out / "shards" / name, out, name, info)
    assert any("in earlier shards too" in f.what for f in verify_run(out).findings)
    result = run("samples", out=out, model=bundled_model, **SHORT)
    assert result.done + result.resumed == 10 and result.failed == {}
    assert_whole(out)


def test_a_straggler_of_this_command_costs_no_problem_either(
    finished: Path, bundled_model: MaskedDiffusionModel, tmp_path: Path
) -> None:
    """Its shard is larger than those of who took over, so theirs go, and what was only in them is
    redone."""
    ids, out, seen = open_run(finished).ids, tmp_path / "run", []

    def publish_late(progress: Progress) -> None:
        seen.append(progress.done)
        if progress.done == 9 and len(seen) == 10:
            name = leave_a_second_copy(out, ids[1:7], bundled_model, tmp_path / "other")
            rewrite_identity(
                out / "shards" / name, out, name, json.loads((out / "run.json").read_text())
            )

    execution = Execution(shard_problems=4)
    result = run(
        "samples",
        out=out,
        model=bundled_model,
        execution=execution,
        on_progress=publish_late,
        **SHORT,
    )
    assert (result.done, result.resumed, result.failed) == (10, 0, {})
    assert list((out / "quarantine").iterdir())
    assert_whole(out)


def rewrite_identity(path: Path, out: Path, name: str, info: dict[str, Any]) -> None:
    """Make a shard of a smaller run one of this run, places in problems.jsonl included."""
    places = {p.id: place for place, p in enumerate(load_problems(out / "problems.jsonl"))}
    with h5py.File(path, "r+") as file:
        file.attrs.update({"fingerprint": info["fingerprint"], "run_id": info["run_id"]})
        index = [places[i] for i in file["problem_id"].asstr()[...]]
        file["index"][...] = index
        file["problem"][...] = index
    record = json.loads((out / "manifest-w7.jsonl").read_text())
    record.pop("line_sha256")
    image = io.BytesIO()
    with h5py.File(path, "r") as file, h5py.File(image, "w") as copied:
        copied.attrs.update(file.attrs)
        for each in file:
            file.copy(each, copied)
    append_seal(image)
    content = image.getvalue()
    path.write_bytes(content)
    record |= {"sha256": hashlib.sha256(content).hexdigest(), "bytes": len(content), "name": name}
    record["fingerprint"] = info["fingerprint"]
    (out / "manifest-w7.jsonl").write_text(json.dumps(record) + "\n")
    with h5py.File(path) as file:
        part = file["hidden"][...].sum(0, dtype=np.float32)
    GroupSum(out, info, "w7").write(name, part)


class Ended(BaseException):
    """Stands for the end of a process."""


def worker_at(out: Path, model: MaskedDiffusionModel, holder: str) -> tuple[Worker, list[Any]]:
    attrs = {
        "run_id": "r",
        "fingerprint": "f",
        "model_fingerprint": model.fingerprint,
        "mask_token_id": model.token_ids.mask,
    }
    from diffengine.engine.config import RunConfig

    config = RunConfig.of(model="bundled", **SHORT)
    job = Job(str(out), str(BUNDLED), attrs, config, Execution(device="cpu", workers=2), holder)
    prompts, _ = build_prompts(list(enumerate(read_problems("samples").problems)), model, config)
    worker = Worker(job, "w0")
    assert worker.start().error is None
    return worker, prompts


@pytest.mark.parametrize("why", ["nothing", "given up", "taken over", "left alone"])
def test_a_worker_that_was_given_up_publishes_nothing_more(
    bundled_model: MaskedDiffusionModel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, why: str
) -> None:
    def end(code: int) -> None:
        raise Ended

    monkeypatch.setattr(
        cluster_worker, "os", SimpleNamespace(_exit=end, getpid=os.getpid, uname=os.uname)
    )
    (tmp_path / "logs").mkdir()
    with RunLock(tmp_path):
        holder = str(this_process()) if why != "taken over" else str(this_process()._replace(pid=1))
        worker, prompts = worker_at(tmp_path, bundled_model, holder)
        if why == "given up":
            given_up_mark(tmp_path, "w0").touch()
        with monkeypatch.context() as patch:  # as if it still waited for company
            patch.setattr(worker._device, "flush", lambda: None)
            worker.work(prompts[:1])
        assert not (tmp_path / "shards").exists()
        if why == "nothing":
            report = worker.drain()
            assert report.error is None and [i for i, _ in report.published] == [
                prompts[0].problem.id
            ]
            assert len(list((tmp_path / "shards").iterdir())) == 1
            return
        if why != "left alone":
            with pytest.raises(Ended):
                worker.drain()
    if why == "left alone":  # the command has ended, and its lock is free
        with pytest.raises(Ended):
            worker.drain()
    assert not (tmp_path / "shards").exists()


def test_the_marks_of_an_earlier_command_do_not_stop_this_one(tmp_path: Path) -> None:
    (tmp_path / "logs").mkdir()
    given_up_mark(tmp_path, "w0").touch()
    with Session(tmp_path, devices=["cpu"]):
        assert not given_up_mark(tmp_path, "w0").exists()


def test_a_lock_without_a_name_is_held_while_somebody_holds_it(tmp_path: Path) -> None:
    from diffengine.engine.store.lock import is_held_by

    me, other = str(this_process()), str(this_process()._replace(pid=1))
    with RunLock(tmp_path):
        assert is_held_by(tmp_path, me) and not is_held_by(tmp_path, other)
        (tmp_path / ".lock").write_text("")  # the disk was full when it was taken
        assert is_held_by(tmp_path, me)
    assert not is_held_by(tmp_path, me)
