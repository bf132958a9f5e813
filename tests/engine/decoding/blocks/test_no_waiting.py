"""A step over open blocks waits for the device once, for what the policy decided; and a row that
leaves waits for nothing before it is graded."""

from __future__ import annotations

import itertools
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from diffengine.engine.decoding.block_canvas import BlockCanvas
from diffengine.engine.decoding.setup import Setup
from diffengine.engine.models import block_attention
from diffengine.engine.models.family import Blocks
from diffengine.engine.models.loading import MaskedDiffusionModel
from diffengine.kernels import head, transfer

from ...runs.test_no_waiting import Refusing, RefusingCopies
from .test_attention import one_by_one
from .watched import config_of, of_blocks, prompt_of

GRID: dict[str, dict[str, Any]] = {
    "dynamic": {"remasking_strategy": "low_confidence_dynamic", "confidence_threshold": 0.35},
    "entropy bound": {"remasking_strategy": "entropy_bounded", "entropy_bound": 2.0},
    "hidden": {"save_logits": "hidden"},
    "sequential": {"remasking_strategy": "sequential"},
    "warm": {"temperature": 0.7, "top_k": 9, "top_p": 0.9},
}
CASES = list(itertools.product(sorted(GRID), ["all", "answers", "masked"]))


@pytest.mark.parametrize("causal", [False, True])
@pytest.mark.parametrize(("name", "record"), CASES)
def test_a_step_waits_once(
    sdar: MaskedDiffusionModel,
    monkeypatch: pytest.MonkeyPatch,
    name: str,
    record: str,
    causal: bool,
) -> None:
    blocks = Blocks(length=4, causal_context=causal, whole_last=not causal)
    model = of_blocks(sdar, blocks, read_offset=-1 if name == "sequential" else 0)
    config = config_of(4, 10, record=record, **GRID[name])
    prompts = [prompt_of(n, number=k) for k, n in enumerate((1, 5, 6, 9, 11))]
    decoder = Setup(model, config).decoder(prompts, budget=60)
    decoder.recorder.null.of(torch.tensor([7]))  # once a run, not a step's
    copies, refusing, real = RefusingCopies(), Refusing(), torch.tensor
    waits = [0]

    def unwatched(work: Any, count: list[int]) -> Any:
        def call(*arguments: Any, **options: Any) -> Any:
            copies.asleep = refusing.asleep = True
            count[0] += 1
            try:
                return work(*arguments, **options)
            finally:
                copies.asleep = refusing.asleep = False

        return call

    def pinned(values: list[int], **more: Any) -> torch.Tensor:
        copies.allowed = True
        try:
            return real(values, **more)
        finally:
            copies.allowed = False

    monkeypatch.setattr(head, "logit_stats", unwatched(head.logit_stats, [0]))
    monkeypatch.setattr(BlockCanvas, "_told", unwatched(BlockCanvas._told, waits))
    monkeypatch.setattr(transfer.HostCopies, "array", unwatched(transfer.HostCopies.array, [0]))
    monkeypatch.setattr(transfer, "torch", SimpleNamespace(tensor=pinned, bfloat16=torch.bfloat16))
    monkeypatch.setattr("torch.nn.attention.varlen.varlen_attn", unwatched(one_by_one, [0]))
    monkeypatch.setattr(block_attention, "takes_varlen", lambda query: True)
    waiting, steps, left = iter(prompts), 0, 0
    with torch.inference_mode(), copies, refusing:
        while decoder.canvas.fill(waiting):
            for row in decoder.step():
                decoder.recorder.begin(row)
                left += 1
            steps += 1
    assert waits == [steps] and left == len(prompts)
