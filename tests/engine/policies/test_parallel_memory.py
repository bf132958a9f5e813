"""What a policy remembers of a row is of that row alone: of no other problem, canvas or session."""

from __future__ import annotations

import gc
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from diffengine.engine.config import RunConfig
from diffengine.engine.decoding.canvas import Canvas, Room, RowFormat, Schedule
from diffengine.engine.decoding.setup import Setup
from diffengine.engine.models.loading import MaskedDiffusionModel
from diffengine.engine.policies.klass import KlassPolicy, Memory
from diffengine.engine.problems.read import Problem
from diffengine.engine.prompts.prompt import Prompt
from diffengine.engine.runs.run import run
from diffengine.engine.store import open_run, verify_run

KLASS: dict[str, Any] = {
    "policy": "klass",
    "gen_length": 12,
    "block_length": 6,
    "kl_threshold": 0.1,
    "confidence_threshold": 0.3,
}
LATE: dict[str, Any] = {"policy": "prophet", "gen_length": 12, "answer_start": 4, "block_length": 6}


def prompts(n: int) -> list[Prompt]:
    problem = Problem(id="p", question="", answer=None)
    return [Prompt(problem, place, place, (1,), ()) for place in range(n)]


def canvas_of(rows: int) -> Canvas:
    canvas = Canvas(
        RowFormat(gen_length=2, mask_id=9),
        Schedule([True] * 8, free=True),
        Room(rows=rows, tokens=1000),
        device=torch.device("cpu"),
    )
    canvas.fill(iter(prompts(rows)))
    return canvas


def step(memory: Memory, canvas: Canvas, kl: list[list[float]], block: list[int]) -> Any:
    recent, steps = memory.step(canvas, torch.tensor(kl, dtype=torch.float64), torch.tensor(block))
    for row in canvas.rows:
        row.n_forwards += 1
    return recent.tolist(), steps.tolist()


def test_the_last_divergences_follow_their_slots_and_steps_count_within_a_block() -> None:
    canvas = canvas_of(rows=2)
    memory = Memory(canvas, history=2)
    recent, steps = step(memory, canvas, [[1, 2], [3, 4]], [0, 0])
    assert steps == [0, 0]
    assert recent[0][1] == [1, 2] and all(map(math.isnan, recent[0][0]))

    canvas.rows.reverse()
    recent, steps = step(memory, canvas, [[5, 6], [7, 8]], [0, 1])
    assert recent == [[[3, 4], [5, 6]], [[1, 2], [7, 8]]]
    assert steps == [1, 0]

    # Another problem enters the slot of the first row, at the same block.
    canvas.rows[0].n_forwards = 0
    recent, steps = step(memory, canvas, [[9, 9], [0, 0]], [0, 1])
    assert all(map(math.isnan, recent[0][0])) and recent[0][1] == [9, 9]
    assert recent[1] == [[7, 8], [0, 0]]
    assert steps == [0, 1]


def test_two_canvases_of_one_policy_do_not_meet(
    bundled_model: MaskedDiffusionModel, packed: Any, prompts_of: Any
) -> None:
    config = RunConfig.of(model="m", **KLASS)
    everyone = prompts_of(bundled_model, config.gen_length)
    expected = packed(bundled_model, config, everyone)
    setup = Setup(bundled_model, config)
    halves = [everyone[::2], everyone[1::2]]
    decoders = [setup.decoder(half, budget=2048).decode(iter(half)) for half in halves]
    running = list(decoders)
    while running:
        for decoder in list(running):
            finished = next(decoder, None)
            if finished is None:
                running.remove(decoder)
                continue
            wanted = expected[finished.problem.id]
            assert np.array_equal(finished.columns["token"], wanted["token"])


def test_what_is_remembered_goes_with_its_canvas(
    bundled_model: MaskedDiffusionModel, prompts_of: Any
) -> None:
    config = RunConfig.of(model="m", **KLASS)
    everyone = prompts_of(bundled_model, config.gen_length)
    setup = Setup(bundled_model, config)
    policy = setup.policy
    assert isinstance(policy, KlassPolicy)
    for _ in range(3):
        list(setup.decoder(everyone, budget=2048).decode(iter(everyone)))
    gc.collect()
    assert len(policy._memories) == 0


@pytest.mark.parametrize("settings", [KLASS, LATE], ids=lambda settings: settings["policy"])
def test_a_run_that_goes_on_gives_what_one_gives_that_was_not_interrupted(
    settings: dict[str, Any], bundled_model: MaskedDiffusionModel, tmp_path: Path
) -> None:
    whole, parts = tmp_path / "whole", tmp_path / "parts"
    run("generated:16", out=whole, model=bundled_model, **settings)
    run("generated:16", out=parts, model=bundled_model, limit=5, **settings)
    result = run("generated:16", out=parts, model=bundled_model, **settings)
    assert (result.done, result.resumed) == (11, 5)
    report = verify_run(parts)
    assert report.ok, report.findings
    one, other = open_run(whole), open_run(parts)
    assert one.ids == other.ids
    for name in ("token", "committed", "performed", "n_forwards", "verdict", "block"):
        assert np.array_equal(one[name][...], other[name][...]), name
    ended = one["performed"][...].sum(1)
    assert len(set(ended.tolist())) > 1
