"""What open blocks take of a device and of the disk, by arithmetic, against what is held and
written."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import pytest

from diffengine.engine.decoding.setup import Setup
from diffengine.engine.models.family import Blocks
from diffengine.engine.models.loading import MaskedDiffusionModel
from diffengine.engine.runs import device
from diffengine.engine.runs.execution import Execution
from diffengine.engine.runs.memory import Footprint, budget_that_fits, footprint, memory_need
from diffengine.engine.runs.plan import Request, plan_run
from diffengine.engine.runs.run import estimate_run, run

from .watched import config_of, of_blocks, prompt_of

SDAR_8B = Footprint(
    steps=260,
    gen_length=256,
    width=4096,
    mlp=12288,
    vocabulary=151936,
    item=2,
    logit_item=2,
    kept=16,
    mean_hidden=False,
    of_blocks=True,
    block_length=4,
    cache_token=36 * 2 * 8 * 128 * 2,
)
CELL = 8192 + 96 + 48
"""Bytes of a step of an open position, and of one that is not open any more but for its state."""


def test_the_budget_follows_from_free_memory() -> None:
    need = SDAR_8B
    assert need.row == 260 * 4 * CELL  # of the open block alone; all positions would be 64 times
    assert need.ring_row == 4 * 151936 * 2
    grams = 260 * 4 * 4 * (4 + 8)
    rows = 260 * 4 * 4096 * (2 + 12)  # all steps at once
    laid_out = 260 * 256 * (CELL - 8192)
    clean = 260 * 4 * (4096 * 3 + 2 * 4 * 8)
    assert need.finish == grams + rows + 4 * laid_out + clean
    beside = 1024 * 151936 * 20 + need.finish
    per_token = need.row / 300 + (8 * 4096 + 3 * 12288) * 2 + need.ring_row / 300 + 147_456
    assert budget_that_fits(20e9, need, shortest=300) == int((16e9 - beside) / per_token)
    without = dataclasses.replace(need, cache_token=0)
    assert budget_that_fits(20e9, without, shortest=300) > 1.5 * budget_that_fits(
        20e9, need, shortest=300
    )


def test_all_of_them_laid_out_where_they_are_kept() -> None:
    hidden = dataclasses.replace(SDAR_8B, save_logits="hidden")
    assert hidden.finish - SDAR_8B.finish == 4 * 260 * 256 * 4096 * 2
    full = dataclasses.replace(SDAR_8B, save_logits="full")
    assert full.finish - SDAR_8B.finish == 260 * 256 * 4096 * 2 + 256 * 151936 * 2


@pytest.mark.parametrize("save_logits", ["hidden", "none", "topk"])
@pytest.mark.parametrize("keeps", [True, False])
def test_what_is_held_is_what_is_counted(
    sdar: MaskedDiffusionModel, save_logits: str, keeps: bool
) -> None:
    config = config_of(8, 20, save_logits=save_logits)
    prompts = [prompt_of(n) for n in (1, 9, 14)]
    need = footprint(config, sdar, keeps=keeps)
    decoder = Setup(sdar, config, keeps=keeps).decoder(prompts, budget=1 << 20)
    assert decoder.canvas.fill(iter(prompts))
    slots = decoder.recorder._slots.tensors.values()
    held = sum(tensor.nbytes for tensor in slots)
    assert held <= 3 * need.row < held + 4 * 3 * config.steps * 8  # whole words
    assert decoder.head.ring is not None
    assert decoder.head.ring.logits.nbytes == need.ring(3)
    cache = decoder.canvas.cache  # type: ignore[attr-defined]
    tokens = sum(decoder.canvas.row_tokens(len(p.token_ids)) for p in prompts)
    assert tokens == 24 + 32 + 40  # whole blocks
    if not keeps:
        assert cache is None and need.cache_token == 0
        return
    assert cache.bytes == tokens * need.cache_token == tokens * 2 * 2 * 2 * 8 * 4
    while decoder.canvas.rows:
        decoder.step()
    assert cache.bytes == 0


def test_every_factor_is_named(sdar: MaskedDiffusionModel) -> None:
    config = config_of(8, 20)
    for keeps in (True, False):
        need = footprint(config, sdar, keeps=keeps)
        factors = memory_need(config, sdar, capacity=3, tokens=96, keeps=keeps)
        parts = {factor.name: factor for factor in factors}
        assert parts["trajectories"].amount == 3 * need.row
        assert "8 positions" in parts["trajectories"].how
        assert parts["step before"].amount == need.ring(3) == 3 * 8 * 560 * 4
        assert ("keys and values" in parts) == keeps
        if keeps:
            assert parts["keys and values"].amount == 96 * 256
            assert parts["keys and values"].how == "96 tokens of rows x 256 bytes"


def test_the_room_is_for_whole_rows(
    sdar: MaskedDiffusionModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A row that is decoded to the end of its last block is longer than prompt and `gen_length`."""
    monkeypatch.setattr(device, "free_bytes", lambda *arguments: 0)
    prompts = [prompt_of(n) for n in (11, 9, 14)]
    config = config_of(8, 20)
    assert device.room_for(prompts, sdar, config, Execution()) == 32
    short = of_blocks(sdar, Blocks(length=8, whole_last=False))
    assert device.room_for(prompts, short, config, Execution()) == 29
    monkeypatch.setattr(device, "free_bytes", lambda *arguments: 40_000_000)
    kept = device.room_for(prompts, sdar, config, Execution())
    whole = device.room_for(prompts, sdar, config, Execution(cache=False))
    assert 32 < kept < whole
    assert kept == budget_that_fits(40_000_000, footprint(config, sdar), shortest=32)


SHAPES: dict[str, dict[str, Any]] = {
    "": {},
    "hidden": {"save_logits": "hidden"},
    "many shards": {"execution": Execution(shard_bytes=1, token_budget=300)},
    "no cache": {"execution": Execution(cache=False)},
}


@pytest.mark.parametrize("shape", sorted(SHAPES))
def test_the_disk_need_is_within_a_quarter(
    sdar: MaskedDiffusionModel, tmp_path: Path, shape: str
) -> None:
    """Of rows that make all their steps; where texts end before, it is a bound, and says so."""
    settings = {
        "gen_length": 21,
        "block_length": 8,
        "remasking_strategy": "low_confidence_static",
        **SHAPES[shape],
    }
    need = estimate_run("generated:12", out=tmp_path / "r", model=sdar, **settings)
    assert not (tmp_path / "r").exists()
    run("generated:12", out=tmp_path / "r", model=sdar, **settings)
    stored = sum(path.stat().st_size for path in (tmp_path / "r" / "shards").glob("*.h5"))
    assert need.disk_bytes == pytest.approx(stored, rel=0.25)
    assert need.disk_at_most and need.seconds_at_most
    assert need.total_seconds is not None and need.total_seconds > 0
    assert "at most 32 forward passes" in need.seconds[0].how


def test_the_work_is_what_goes_through_the_network(
    sdar: MaskedDiffusionModel, tmp_path: Path
) -> None:
    """Tokens of an estimate against those of a run in which every row makes all steps it can."""
    settings: dict[str, Any] = {"gen_length": 16, "block_length": 1, "model": sdar}
    for cache in (True, False):
        execution = Execution(cache=cache)
        need = estimate_run("samples", out=tmp_path / "r", execution=execution, **settings)
        plan = plan_run(
            Request("samples", model=sdar, settings={"gen_length": 16, "block_length": 1})
        )
        prompts = plan.prompts_of(list(enumerate(plan.problems))).prompts
        lengths = [len(prompt.token_ids) for prompt in prompts]
        if cache:  # each token once, and each but the last once more
            tokens = sum(n + 16 + 15 for n in lengths)
        else:
            tokens = sum(16 * n + 16 * 17 // 2 for n in lengths)
        assert need.seconds[0].how.startswith(f"{tokens:,} tokens (at most 16 forward passes)")
