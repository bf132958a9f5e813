"""The token budget that free memory allows, worked out by hand at LLaDA-8B's shape."""

from __future__ import annotations

import dataclasses

from diffengine.engine.config import RunConfig
from diffengine.engine.decoding.slots import Slots
from diffengine.engine.models.loading import MaskedDiffusionModel
from diffengine.engine.runs.memory import Footprint, budget_that_fits, footprint
from diffengine.engine.store.format.schema import variables_in_flight
from diffengine.kernels.ring import LIMIT_BYTES, LogitRing

LLADA = Footprint(
    steps=128,
    gen_length=128,
    width=4096,
    mlp=12288,
    vocabulary=126464,
    item=2,
    logit_item=2,
    kept=16,
)
CHUNK = 1024 * 126464 * 20
"""A thousand rows of logits, 20 bytes for each."""
GRAMS = 128 * 128 * 128 * (4 + 8)
ROWS = 4096 * 4096 * (2 + 12)
"""32 of 128 steps at once: bfloat16, then three times in float32. Columns of three problems are on
their way out."""
LEAVING = GRAMS + ROWS + 3 * 128 * 128 * (96 + 48)
SUM = 128 * 128 * 4096 * 4
BESIDE = CHUNK + LEAVING + SUM
"""What is taken beside rows: logits being worked on, a problem that leaves, the sum of hidden
states."""


def test_the_budget_follows_from_free_memory() -> None:
    assert LLADA.row == 128 * 128 * (8192 + 96 + 48)
    assert LLADA.token == (8 * 4096 + 3 * 12288) * 2
    assert LLADA.ring_row == 128 * 126464 * 2
    assert (LLADA.finish, LLADA.hidden_sum) == (LEAVING, SUM)
    per_token = (128 * 128 * 8336 + 128 * 126464 * 2) / 200 + 139264
    assert budget_that_fits(20e9, LLADA, shortest=200) == int((0.8 * 20e9 - BESIDE) / per_token)
    assert budget_that_fits(0, LLADA, shortest=200) == 200  # one row is always tried


def test_a_cell_is_what_the_recorder_allocates(bundled_model: MaskedDiffusionModel) -> None:
    for save_logits in ("none", "topk", "hidden"):
        config = RunConfig.of(
            model="bundled", steps=8, gen_length=8, block_length=8, save_logits=save_logits
        )
        need = footprint(config, bundled_model)
        sizes = {
            "step": 8,
            "position": 8,
            "answer_token": need.answer_tokens,
            "k": need.kept,
            "feature": need.width,
        }
        dtypes = {
            "model": bundled_model.dtype,
            "logits": bundled_model.logits_dtype(config.logits_dtype),
        }
        slots = Slots(
            variables_in_flight(config),
            capacity=3,
            sizes=sizes,
            dtypes=dtypes,
            device=bundled_model.device,
        )
        held = sum(tensor.nbytes for tensor in slots.tensors.values())
        cells = 3 * 8 * 8
        assert held <= need.cell * cells < held + 4 * cells  # whole words


def test_where_the_step_before_is_not_kept_its_room_goes_to_rows() -> None:
    free = 400e9
    assert (0.8 * free - BESIDE) / (
        LLADA.row + LLADA.ring_row + 200 * LLADA.token
    ) * LLADA.ring_row > LIMIT_BYTES
    assert LLADA.ring(10**6) == 0
    assert budget_that_fits(free, LLADA, shortest=200) == int(
        (0.8 * free - BESIDE) / (LLADA.row / 200 + LLADA.token)
    )


def test_what_is_kept_is_counted() -> None:
    bare = dataclasses.replace(LLADA, mean_hidden=False)
    assert bare.hidden_sum == 0
    assert budget_that_fits(20e9, bare, shortest=200) > budget_that_fits(20e9, LLADA, shortest=200)
    hidden = dataclasses.replace(LLADA, save_logits="hidden")
    assert (
        hidden.finish - LLADA.finish == 3 * 128 * 128 * 4096 * 2
    )  # copies on their way to the host
    full = dataclasses.replace(LLADA, save_logits="full")
    assert (
        full.finish - LLADA.finish == 2 * 128 * 126464 * 2
    )  # two steps; all of them would be 4.1 GB


def test_guidance_sends_every_token_through_twice() -> None:
    assert dataclasses.replace(LLADA, guided=True).token == 2 * LLADA.token


def test_the_step_before_is_counted_as_it_is_kept(bundled_model: MaskedDiffusionModel) -> None:
    config = RunConfig.of(model="bundled", steps=8, gen_length=8, block_length=8)
    need = footprint(config, bundled_model)
    ring = LogitRing.if_it_fits(5 * 8, bundled_model.head_weight)
    assert ring is not None and ring.logits.nbytes == need.ring(5)
