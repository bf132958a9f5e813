"""The Ray of the fault tests leaves nothing behind: with `--faults all` thousands of its workers die
in one process, each with a thread and a model."""

from __future__ import annotations

import gc
import logging
import sys
import threading
import time
import weakref
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from diffengine.engine.config import RunConfig
from diffengine.engine.models.loading import MaskedDiffusionModel
from diffengine.engine.runs.cluster.worker import Job, Worker
from diffengine.engine.runs.execution import Execution

sys.path.append(str(Path(__file__).parent))

from ray_in_process import Actor, RayInProcess, started_ray


@pytest.fixture
def job(bundled_model: MaskedDiffusionModel, tmp_path: Path) -> Iterator[Job]:
    attrs = {
        "fingerprint": "f",
        "model_fingerprint": bundled_model.fingerprint,
        "run_id": "r",
        "mask_token_id": bundled_model.token_ids.mask,
    }
    config = RunConfig.of(model="bundled", steps=4, gen_length=4, block_length=4, dtype="float32")
    execution = Execution(device="cpu", token_budget=300)
    ours = logging.getLogger("diffengine")
    before = ours.handlers[:]
    yield Job(str(tmp_path), str(bundled_model.path), attrs, config, execution, "nobody")
    for handler in set(ours.handlers) - set(before):
        ours.removeHandler(handler)
        handler.close()


def started(ray: RayInProcess, job: Job) -> tuple[Actor, Any, Any]:
    """An actor that has its model, its writer's thread, and a weak reference to its device."""
    actor = ray.remote()(Worker).options().remote(job, "w0")
    assert ray.get(actor.start.remote()).error is None
    worker = actor._worker
    thread = worker._writer._thread
    assert thread.is_alive()
    return actor, thread, weakref.ref(worker._device)


def test_a_killed_worker_leaves_neither_thread_nor_model(job: Job) -> None:
    ray = RayInProcess()
    actor, thread, device = started(ray, job)
    ray.kill(actor)
    gc.collect()
    assert not thread.is_alive()
    assert device() is None
    ray.kill(actor)  # dead is dead


def test_no_worker_outlives_its_ray(job: Job) -> None:
    with pytest.raises(KeyboardInterrupt), started_ray() as ray:
        _, thread, device = started(ray, job)
        raise KeyboardInterrupt
    gc.collect()
    assert not thread.is_alive()
    assert device() is None


def test_what_waits_for_a_killed_writer_is_never_written(
    job: Job, monkeypatch: pytest.MonkeyPatch
) -> None:
    ray = RayInProcess()
    actor, thread, _ = started(ray, job)
    assert actor._worker is not None
    writer = actor._worker._writer
    assert writer is not None
    published: list[Any] = []
    ready = threading.Event()

    def publish(columns: dict[str, Any]) -> None:
        published.append(columns)
        if len(published) == 1:
            ready.wait(10)

    monkeypatch.setattr(writer, "_publish", publish)
    monkeypatch.setattr(writer._tokens, "add", lambda columns: None)
    nothing: dict[str, Any] = {"problem_id": [], "verdict": []}
    writer.put(nothing)
    while not published:
        time.sleep(0.01)
    writer.put(nothing)
    writer.put(nothing)
    close = writer.close

    def go_on_and_close() -> None:
        ready.set()
        close()

    monkeypatch.setattr(writer, "close", go_on_and_close)
    ray.kill(actor)
    assert not thread.is_alive()
    assert len(published) == 1
