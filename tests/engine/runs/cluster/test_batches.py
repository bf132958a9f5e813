"""How much of a batch fits a worker, against the account of memory that its device itself goes
by."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from diffengine.engine.config import RunConfig
from diffengine.engine.decoding.canvas import capacity_for
from diffengine.engine.decoding.null_beliefs import NullBeliefs
from diffengine.engine.models.loading import MaskedDiffusionModel
from diffengine.engine.problems.read import Problem
from diffengine.engine.prompts.prompt import Prompt
from diffengine.engine.runs.cluster.batches import fits_by_memory
from diffengine.engine.runs.cluster.worker import Job, Report, Worker, one_at_a_time
from diffengine.engine.runs.device import Device
from diffengine.engine.runs.execution import Execution
from diffengine.engine.runs.memory import Footprint, budget_that_fits
from diffengine.kernels.geometry import LogitGeometry

LLADA_8B = Footprint(512, 512, 4096, 12288, 126464, 2, 2, 16)


def prompts_of(lengths: list[int]) -> list[Prompt]:
    return [
        Prompt(Problem(f"p{n}", "", None), n, n, (1,) * length, ())
        for n, length in enumerate(lengths)
    ]


def test_a_batch_is_as_many_rows_as_the_worker_can_run_at_once() -> None:
    prompts = prompts_of([60] * 28)
    free = 84.9e9 - 16e9
    fits = fits_by_memory(LLADA_8B, budget=16384)
    n = fits(Report([], [], budget=16384, free=int(free)), prompts)
    slots = budget_that_fits(free, LLADA_8B, shortest=572) // 572
    assert n == slots < 28
    assert fits(Report([], [], budget=16384, free=None), prompts) == 16384 // 572
    assert (
        fits(Report([], [], budget=8192, free=None), prompts) == 8192 // 572
    )  # memory ran out once
    assert fits(Report([], []), prompts) == 16384 // 572
    assert fits(Report([], [], budget=1, free=0), prompts) == 1
    assert fits(Report([], [], budget=10**9, free=10**15), prompts_of([60] * 5)) == 5


@pytest.mark.parametrize("free", [20_000_000_000, 40_000_000_000, 70_000_000_000])
def test_what_fits_is_what_the_device_itself_would_have_room_for(free: int) -> None:
    lengths = [300, 200, 150, 120, *[60] * 40]
    prompts = prompts_of(lengths)
    n = fits_by_memory(LLADA_8B, budget=16384)(Report([], [], budget=16384, free=free), prompts)
    chosen = prompts[:n]
    room = min(
        16384,
        budget_that_fits(free, LLADA_8B, shortest=min(len(p.token_ids) for p in chosen) + 512),
    )
    assert sum(len(p.token_ids) + 512 for p in chosen) <= room
    assert capacity_for(chosen, gen_length=512, token_budget=room) >= n


def test_a_worker_says_what_room_it_has_and_what_is_left_of_it(
    bundled_model: MaskedDiffusionModel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    attrs = {
        "fingerprint": "f",
        "model_fingerprint": bundled_model.fingerprint,
        "run_id": "r",
        "mask_token_id": 1,
    }
    config = RunConfig.of(model="bundled", steps=4, gen_length=4, block_length=4, dtype="float32")
    (tmp_path / "logs").mkdir()
    execution = Execution(device="cpu", token_budget=300)
    worker = Worker(
        Job(str(tmp_path), str(bundled_model.path), attrs, config, execution, "nobody"), "w0"
    )
    report = worker.start()
    assert (report.error, report.budget, report.free) == (None, 300, None)
    device = worker._device
    assert device is not None
    device._halve("pretended")
    assert worker.work([]).budget == 150
    # On a GPU: what the driver of it says is free, and what the allocator holds in reserve.
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda _: (1000, 5000))
    monkeypatch.setattr(torch.cuda, "memory_reserved", lambda _: 700)
    monkeypatch.setattr(torch.cuda, "memory_allocated", lambda _: 600)
    on_gpu: Any = SimpleNamespace(
        _model=SimpleNamespace(device=torch.device("cuda")),
        _execution=SimpleNamespace(token_budget=None),
    )
    assert Device.free_bytes(on_gpu) == 1100


def test_what_follows_from_the_model_is_worked_out_once(
    bundled_model: MaskedDiffusionModel, monkeypatch: pytest.MonkeyPatch, prompts_of: Any
) -> None:
    """Geometry and null pass are counted over three batches; and the problems come out as from
    devices of their own."""
    counts = {"geometry": 0, "null": 0}
    real_geometry, real_null = LogitGeometry.__init__, NullBeliefs._compute

    def geometry(self: LogitGeometry, weight: torch.Tensor) -> None:
        counts["geometry"] += 1
        real_geometry(self, weight)

    def null(self: NullBeliefs) -> tuple[torch.Tensor, torch.Tensor]:
        counts["null"] += 1
        return real_null(self)

    monkeypatch.setattr(LogitGeometry, "__init__", geometry)
    monkeypatch.setattr(NullBeliefs, "_compute", null)
    config = RunConfig.of(model="test", steps=4, gen_length=4, block_length=4)
    prompts = prompts_of(bundled_model, 4)[:3]
    device = Device(bundled_model, config, Execution(device="cpu"), lambda _: None)
    shared = [one for prompt in prompts for one in device.decode([prompt])]
    assert counts == {"geometry": 1, "null": 1}
    for prompt, one in zip(prompts, shared, strict=True):
        (alone,) = Device(bundled_model, config, Execution(device="cpu"), lambda _: None).decode(
            [prompt]
        )
        one.ready()
        alone.ready()
        for name in ("token", "cka", "null_answer_logprob"):
            assert torch.equal(
                torch.as_tensor(one.columns[name]).nan_to_num(-7.0),
                torch.as_tensor(alone.columns[name]).nan_to_num(-7.0),
            ), name


def test_workers_of_one_machine_load_one_after_the_other_and_a_dead_one_blocks_nobody(
    tmp_path: Path,
) -> None:
    code = (
        "import sys, time, pathlib\n"
        "from diffengine.engine.runs.cluster.worker import one_at_a_time\n"
        "with one_at_a_time(pathlib.Path(sys.argv[1])):\n"
        "    print('in', flush=True)\n"
        "    time.sleep(600)\n"
    )
    loading = subprocess.Popen(
        [sys.executable, "-P", "-c", code, str(tmp_path)], stdout=subprocess.PIPE, text=True
    )
    second = None
    try:
        assert loading.stdout is not None and loading.stdout.readline() == "in\n"
        second = subprocess.Popen(
            [sys.executable, "-P", "-c", code, str(tmp_path)], stdout=subprocess.PIPE, text=True
        )
        assert second.stdout is not None
        os.set_blocking(second.stdout.fileno(), False)
        time.sleep(1.5)
        assert second.stdout.readline() == ""
        loading.kill()
        os.set_blocking(second.stdout.fileno(), True)
        assert second.stdout.readline() == "in\n"
    finally:
        for process in filter(None, (loading, second)):
            process.kill()
            process.wait()
    with one_at_a_time(tmp_path / "missing"):  # where no lock can be made nobody waits
        pass
