"""What a device does when its memory runs out, and the token budget that should keep it from
that."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
import torch

from diffengine.engine.config import RunConfig
from diffengine.engine.decoding.canvas import Canvas, Room
from diffengine.engine.decoding.policy import Update
from diffengine.engine.decoding.row import Row
from diffengine.engine.models.loading import MaskedDiffusionModel
from diffengine.engine.problems.read import read_problems
from diffengine.engine.runs import gather
from diffengine.engine.runs.device import Device
from diffengine.engine.runs.plan import prompts_of
from diffengine.engine.runs.run import Execution, run
from diffengine.engine.store import open_run, verify_run
from diffengine.engine.store.write.hidden_sums import read_sum, read_sum_file, sum_paths

SHORT: dict[str, Any] = {"steps": 8, "gen_length": 8, "block_length": 4}


def run_out_of_memory(monkeypatch: pytest.MonkeyPatch, *, at_steps: set[int]) -> list[int]:
    """Raise at these steps, counted over the whole run; returns the list of budgets that canvases
    then get."""
    budgets: list[int] = []
    real_apply, real_init, count = Canvas.apply, Canvas.__init__, [0]

    def apply(self: Canvas, update: Update) -> list[Row]:
        count[0] += 1
        if count[0] in at_steps:
            raise torch.OutOfMemoryError("CUDA out of memory (pretended)")
        return real_apply(self, update)

    def init(self: Canvas, row: Any, schedule: Any, room: Room, **more: Any) -> None:
        if room.tokens > 1:  # not the null input's canvas of one row
            budgets.append(room.tokens)
        real_init(self, row, schedule, room, **more)

    monkeypatch.setattr(Canvas, "apply", apply)
    monkeypatch.setattr(Canvas, "__init__", init)
    return budgets


def test_out_of_memory_halves_the_budget_once_and_changes_nothing(
    bundled_model: MaskedDiffusionModel,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    execution = Execution(token_budget=200)
    run("samples", out=tmp_path / "calm", model=bundled_model, execution=execution, **SHORT)
    with monkeypatch.context() as patch, caplog.at_level(logging.WARNING):
        budgets = run_out_of_memory(patch, at_steps={11})
        result = run(
            "samples", out=tmp_path / "short", model=bundled_model, execution=execution, **SHORT
        )
    assert (result.done, budgets) == (10, [200, 100])
    assert "half the token budget, 100" in caplog.text
    assert verify_run(tmp_path / "short").ok
    a, b = open_run(tmp_path / "calm"), open_run(tmp_path / "short")
    assert a.ids == b.ids
    assert np.array_equal(a["token"][...], b["token"][...])
    np.testing.assert_allclose(a["entropy"][...], b["entropy"][...], atol=1e-5)
    np.testing.assert_allclose(
        a.shard_sum("hidden_sum")[0], b.shard_sum("hidden_sum")[0], atol=1e-4
    )


def test_a_second_time_is_an_error_and_what_was_finished_stays(
    bundled_model: MaskedDiffusionModel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        run_out_of_memory(patch, at_steps={11, 30})
        with pytest.raises(torch.OutOfMemoryError):
            run(
                "samples",
                out=tmp_path,
                model=bundled_model,
                execution=Execution(token_budget=200),
                **SHORT,
            )
    stored = len(open_run(tmp_path))
    assert 0 < stored < 10
    assert run("samples", out=tmp_path, model=bundled_model, **SHORT).resumed == stored


def test_a_finished_problem_is_handed_over_while_the_next_is_still_decoded(
    bundled_model: MaskedDiffusionModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Steps of 25 seconds, one problem at a time: each is older than a minute long before the next
    one ends."""
    steps = [0]
    real_apply = Canvas.apply

    def apply(self: Canvas, update: Update) -> list[Row]:
        steps[0] += 1
        return real_apply(self, update)

    monkeypatch.setattr(Canvas, "apply", apply)
    monkeypatch.setattr(gather.time, "monotonic", lambda: 25.0 * steps[0])
    config = RunConfig.of(model="bundled", **SHORT)
    prompts, _ = prompts_of(
        list(enumerate(read_problems("samples").problems[:3])), bundled_model, config
    )
    handed_over: dict[str, int] = {}
    finished: dict[str, int] = {}

    def put(columns: dict[str, Any]) -> None:
        handed_over.update(dict.fromkeys(columns["problem_id"], steps[0]))

    device = Device(bundled_model, config, Execution(token_budget=1), put)
    for done in device.decode(prompts):
        finished[done.problem.id] = steps[0]
    waited = [handed_over[name] - at for name, at in finished.items()]
    assert sorted(finished.values()) == [8, 16, 24]
    assert waited == [3, 3, 0]  # the last goes with its batch


def test_a_row_longer_than_the_budget_runs_alone(
    bundled_model: MaskedDiffusionModel, tmp_path: Path
) -> None:
    result = run(
        "samples",
        limit=3,
        out=tmp_path,
        model=bundled_model,
        execution=Execution(token_budget=1),
        **SHORT,
    )
    assert (result.done, result.failed) == (3, {})


@pytest.mark.parametrize("shard_problems", [1, 2, 3, 10])
def test_a_shards_sum_is_of_its_own_problems(
    bundled_model: MaskedDiffusionModel, tmp_path: Path, shard_problems: int
) -> None:
    """Few rows fit, so that rows enter the slots of those whose hidden states wait in the sum."""
    execution = Execution(token_budget=150, shard_problems=shard_problems)
    run(
        "samples",
        out=tmp_path,
        model=bundled_model,
        execution=execution,
        save_logits="hidden",
        **SHORT,
    )
    stored = open_run(tmp_path)
    counted: list[str] = []
    for path in sum_paths(tmp_path):
        rows = [
            stored.row(i)
            for name in read_sum_file(path).shards
            for i in _ids_of(tmp_path / "shards" / name)
        ]
        np.testing.assert_allclose(
            read_sum(path), stored["hidden"][np.array(rows)].sum(0), atol=1e-4
        )
        counted += [stored.ids[row] for row in rows]
    assert sorted(counted) == sorted(stored.ids)
    total, n_problems = stored.shard_sum("hidden_sum")
    assert n_problems == len(stored)
    np.testing.assert_allclose(total, stored["hidden"][...].sum(0), atol=1e-4)


def _ids_of(shard: Path) -> list[str]:
    with h5py.File(shard) as file:
        return list(file["problem_id"].asstr()[...])
