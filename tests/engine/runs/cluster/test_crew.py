"""Several workers, on a real Ray: the same results as one device, whoever dies, and nothing lost or
counted twice."""

from __future__ import annotations

import contextlib
import errno
import json
import logging
import os
import re
import signal
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from diffengine.engine.decoding.canvas import Canvas
from diffengine.engine.decoding.policy import Update
from diffengine.engine.decoding.row import Row
from diffengine.engine.decoding.setup import Setup
from diffengine.engine.models.loading import MaskedDiffusionModel
from diffengine.engine.problems.read import Problem, ProblemSet, read_problems
from diffengine.engine.prompts.prompt import Prompt
from diffengine.engine.runs import writer
from diffengine.engine.runs.cluster import crew as cluster
from diffengine.engine.runs.cluster.batches import batches_of
from diffengine.engine.runs.cluster.worker import Report, Worker
from diffengine.engine.runs.run import Execution, Progress, run
from diffengine.engine.store import StorageError, open_run, verify_run
from diffengine.engine.store.drawing import draw_key

SHORT: dict[str, Any] = {"steps": 12, "gen_length": 12, "block_length": 4}
TWO = Execution(workers=2, token_budget=300)


class Touchy(Worker):
    """Dies of a problem whose id starts with `deadly`, raises at one whose id starts with
    `wrong`."""

    def work(self, prompts: list[Prompt]) -> Report:
        ids = [p.problem.id for p in prompts]
        if any(i.startswith("deadly") for i in ids):
            os.kill(os.getpid(), signal.SIGKILL)
        if any(i.startswith("wrong") for i in ids):
            return Report([], [], "ValueError: wrong")
        return super().work(prompts)


class Silent(Worker):
    """The first of them dies when its first batch is on the disk and not yet reported."""

    def work(self, prompts: list[Prompt]) -> Report:
        report = super().work(prompts)
        self._drain()
        mark = Path(self._job.out) / "logs" / "died"
        if not mark.exists():
            mark.touch()
            os.kill(os.getpid(), signal.SIGKILL)
        return report._replace(published=[*report.published, *self._taken()])


class NoRoom(Worker):
    """Its disk is full after half a megabyte, and it waits only a moment for room."""

    def start(self) -> Report:
        writer.BACK_OFF_SECONDS = (0.01,)
        real, written = os.write, [0]

        def until_full(descriptor: int, data: bytes) -> int:
            written[0] += len(data)
            if written[0] > 500_000 and len(data) > 10_000:
                raise OSError(errno.ENOSPC, "No space left on device")
            return real(descriptor, data)

        os.write = until_full
        return super().start()


class Forgetful(Worker):
    """Runs out of memory at the third step of its first batch, and reports the budgets of its
    canvases in its log."""

    def start(self) -> Report:
        steps, real_apply, real_decoder = [0], Canvas.apply, Setup.decoder

        def apply(self: Canvas, update: Update) -> list[Row]:
            steps[0] += 1
            if steps[0] == 3:
                raise torch.OutOfMemoryError("CUDA out of memory (pretended)")
            return real_apply(self, update)

        def decoder(*arguments: Any, **more: Any) -> Any:
            logging.getLogger("diffengine").info("canvas of %d tokens", more["budget"])
            return real_decoder(*arguments, **more)

        Canvas.apply, Setup.decoder = apply, decoder  # type: ignore[method-assign]
        return super().start()


@pytest.fixture(scope="module")
def ray() -> Iterator[Any]:
    """One Ray for the tests of this file that do not start their own, with room for their
    replacements."""
    with cluster.started_ray(None, workers=4, gpu=False) as started:
        started.cloudpickle.register_pickle_by_value(sys.modules[__name__])
        yield started


@pytest.fixture
def two(ray: Any, monkeypatch: pytest.MonkeyPatch) -> Execution:
    """An execution with two workers on the shared Ray."""
    monkeypatch.setattr(cluster, "started_ray", lambda *_, **__: contextlib.nullcontext(ray))
    return TWO


@pytest.fixture(scope="module")
def reference(
    bundled_model: MaskedDiffusionModel, tmp_path_factory: pytest.TempPathFactory
) -> Path:
    """Forty problems on one device, uninterrupted."""
    out = tmp_path_factory.mktemp("one") / "run"
    run("generated:40", out=out, model=bundled_model, **SHORT)
    return out


def compare(one: Path, two: Path) -> None:
    """Both runs are sound and complete and hold the same: ids and tokens exactly, values within
    1e-5."""
    report = verify_run(one)
    assert report.ok, report.findings
    a, b = open_run(one), open_run(two)
    assert a.ids == b.ids
    for name in ("token", "committed", "prediction", "verdict", "generated_text"):
        assert np.array_equal(a[name][...], b[name][...]), name
    for name in ("entropy", "kl", "logprob", "answer_logprob", "cka"):
        np.testing.assert_allclose(a[name][...], b[name][...], atol=1e-5, rtol=1e-5, err_msg=name)
    sums, counts = zip(*(r.shard_sum("hidden_sum") for r in (a, b)), strict=True)
    assert counts[0] == counts[1] == len(a)
    np.testing.assert_allclose(sums[0], sums[1], atol=1e-4, rtol=1e-5)
    assert (one / "tokens.json").read_text() and not list(one.glob("tokens-*"))


def prompt(number: int, length: int) -> Prompt:
    return Prompt(Problem(f"p{number}", "", None), number, number, (1,) * length, ())


def test_batches_fill_a_canvas_and_leave_nobody_idle() -> None:
    prompts = [prompt(i, 10 + i % 7) for i in range(50)]
    batches = batches_of(prompts, gen_length=10, budget=200, workers=2, most=64)
    assert sorted(p.place for b in batches for p in b.prompts) == list(range(50))
    lengths = [[len(p.token_ids) for p in b.prompts] for b in batches]
    names = [p.problem.id for batch in batches for p in batch.prompts]
    assert names == sorted(names, key=draw_key)
    assert all(sum(n + 10 for n in batch) <= 200 for batch in lengths)
    assert len(batches_of(prompts, gen_length=10, budget=10**6, workers=4, most=64)) == 4
    alone = batches_of(prompts, gen_length=10, budget=1, workers=2, most=64)
    assert [len(b.prompts) for b in alone] == [1] * 50


def test_interrupted_and_resumed_two_workers_give_what_one_device_gives(
    two: Execution, reference: Path, tmp_path: Path
) -> None:
    asked: list[int] = []

    def stop(progress: Progress) -> None:
        if progress.done and not asked:
            asked.append(progress.done)
            os.kill(os.getpid(), signal.SIGINT)

    with pytest.raises(KeyboardInterrupt):
        run("generated:40", out=tmp_path / "r", execution=two, on_progress=stop, **SHORT)
    first = len(open_run(tmp_path / "r"))
    assert 0 < first < 40
    result = run("generated:40", out=tmp_path / "r", execution=two, **SHORT)
    assert (result.done, result.resumed, result.failed) == (40 - first, first, {})
    compare(tmp_path / "r", reference)


def test_a_policy_with_a_memory_gives_on_two_workers_what_it_gives_on_one(
    two: Execution, bundled_model: MaskedDiffusionModel, tmp_path: Path
) -> None:
    klass: dict[str, Any] = {
        "policy": "klass", "gen_length": 12, "block_length": 4, "kl_threshold": 0.1, "confidence_threshold": 0.3,
    }  # fmt: skip
    run("generated:16", out=tmp_path / "one", model=bundled_model, **klass)
    run("generated:16", out=tmp_path / "two", execution=two, **klass)
    compare(tmp_path / "two", tmp_path / "one")


def test_a_killed_worker_loses_nothing_and_a_flipped_bit_only_its_shard(
    two: Execution, reference: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    killed: list[int] = []

    def kill(progress: Progress) -> None:
        if progress.done and not killed:
            killed.append(_workers(tmp_path / "r")[0])
            os.kill(killed[0], signal.SIGKILL)

    result = run("generated:40", out=tmp_path / "r", execution=two, on_progress=kill, **SHORT)
    assert killed
    assert (result.done, result.failed) == (40, {})
    assert "raylet" not in "".join(capfd.readouterr())
    compare(tmp_path / "r", reference)
    session = json.loads((tmp_path / "r" / "sessions.jsonl").read_text())
    assert sum(w["forwards"] for w in session["workers"].values()) > 0
    shard = sorted((tmp_path / "r" / "shards").glob("*.h5"))[1]
    lost = len(next(e["problem_ids"] for e in _manifest(tmp_path / "r") if e["name"] == shard.name))
    content = bytearray(shard.read_bytes())
    content[len(content) // 2] ^= 4
    shard.write_bytes(content)
    assert shard.name in {f.shard for f in verify_run(tmp_path / "r").findings}
    result = run("generated:40", out=tmp_path / "r", execution=two, **SHORT)
    assert (result.done, result.resumed) == (lost, 40 - lost)
    compare(tmp_path / "r", reference)


def test_what_a_worker_published_before_it_died_unheard_is_neither_lost_nor_done_again(
    two: Execution, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cluster, "Worker", Silent)
    seen: list[Progress] = []
    result = run("generated:12", out=tmp_path, execution=two, on_progress=seen.append, **SHORT)
    assert (result.done, result.failed) == (12, {})
    assert [p.done for p in seen] == sorted(p.done for p in seen) and seen[-1].done == 12
    assert (tmp_path / "logs" / "died").exists() and not (tmp_path / "quarantine").exists()
    assert verify_run(tmp_path).complete
    assert sum(len(e["problem_ids"]) for e in _manifest(tmp_path)) == 12


def test_poison_is_found_and_given_up_alone(
    two: Execution, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cluster, "Worker", Touchy)
    good = read_problems("generated:6")
    bad = [
        Problem("deadly", "2+2?", "4"),
        Problem("wrong", "2+3?", "5"),
        Problem("long", "so " * 5000, "1"),
    ]
    mixed = ProblemSet([*good.problems[:3], *bad, *good.problems[3:]], [], "0" * 64, "mixed")
    result = run(mixed, out=tmp_path, execution=two, **SHORT)
    assert (result.done, set(result.failed)) == (6, {"deadly", "wrong", "long"})
    assert "died while decoding it" in result.failed["deadly"]
    assert "ValueError: wrong" in result.failed["wrong"]
    assert "exceeds the model's 1024 positions" in result.failed["long"]
    lines = [json.loads(line) for line in (tmp_path / "failed.jsonl").read_text().splitlines()]
    assert {line["id"]: line["reason"] for line in lines} == result.failed
    report = verify_run(tmp_path)
    assert (report.n_problems, set(report.missing)) == (6, {"deadly", "wrong", "long"})
    monkeypatch.undo()
    mended = run(mixed, out=tmp_path, **SHORT)  # the next command tries them again
    assert (mended.done, set(mended.failed)) == (2, {"long"})


def test_a_full_disk_ends_the_run_with_one_message_and_it_goes_on_when_there_is_room(
    two: Execution, reference: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(cluster, "Worker", NoRoom)
        with pytest.raises(StorageError, match="the disk is full; .* run the same command again"):
            run("generated:40", out=tmp_path / "r", execution=two, **SHORT)
    stored = len(open_run(tmp_path / "r"))
    assert 0 < stored < 40
    assert verify_run(tmp_path / "r").ok
    result = run("generated:40", out=tmp_path / "r", execution=two, **SHORT)
    assert (result.done, result.resumed, result.failed) == (40 - stored, stored, {})
    compare(tmp_path / "r", reference)


def test_four_workers_that_each_ran_out_of_memory_once_give_what_one_device_gives(
    two: Execution, reference: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cluster, "Worker", Forgetful)
    execution = Execution(workers=4, token_budget=300)
    assert run("generated:40", out=tmp_path / "r", execution=execution, **SHORT).done == 40
    logs = [path.read_text() for path in (tmp_path / "r" / "logs").glob("w*.log")]
    budgets = [found for log in logs if (found := re.findall(r"canvas of (\d+) tokens", log))]
    assert len(budgets) > 1 and max(map(len, budgets)) > 2
    assert all(
        found == ["300", *["150"] * (len(found) - 1)] for found in budgets
    )  # halved for good
    compare(tmp_path / "r", reference)


def _manifest(out: Path) -> list[dict[str, Any]]:
    return [
        json.loads(line)
        for path in out.glob("manifest-*.jsonl")
        for line in path.read_text().splitlines()
    ]


def _workers(out: Path) -> list[int]:
    """The processes of all workers that the run has ever had, by their logs."""
    logs = [path.read_text() for path in sorted((out / "logs").glob("w*.log"))]
    return [int(pid) for log in logs for pid in re.findall(r"ready: process (\d+)", log)]
