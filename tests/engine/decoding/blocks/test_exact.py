"""A cache is exact: cached, uncached, and one dense forward pass for each step, by the stock class
under the explicit mask of blocks, are the same states, statistics and tokens.

In float64, where what rounding leaves is a million times below what any fault makes, and token by
token in float32.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence
from typing import Any

import pytest
import torch
from torch import Tensor

from diffengine.engine.models.family import Blocks
from diffengine.engine.models.loading import MaskedDiffusionModel
from diffengine.engine.policies.commits import transfer_counts
from diffengine.engine.prompts.prompt import Prompt

from .twin import Pass, Rule, Twin, statistics
from .watched import Seen, config_of, of_blocks, prompt_of, watched

EXACTLY = 1e-12
LENGTHS = [1, 3, 4, 8, 32]

KINDS: dict[str, tuple[Blocks, int]] = {
    "causal context": (Blocks(length=4, causal_context=True), 0),
    "causal from the prompt's end": (
        Blocks(length=4, causal_context=True, from_prompt_end=True, whole_last=False),
        0,
    ),
    "from the prompt's end": (Blocks(length=4, from_prompt_end=True), 0),
    "read before": (Blocks(length=4), -1),
    "read before, causal": (Blocks(length=4, causal_context=True, whole_last=False), -1),
    "sdar": (Blocks(length=4), 0),
    "short last": (Blocks(length=4, whole_last=False), 0),
    "short last from the prompt's end": (
        Blocks(length=4, from_prompt_end=True, whole_last=False),
        0,
    ),
}
"""Every way in which a family may count its blocks and see them, with the read offset."""

NAMES = {
    "lse": "logsumexp",
    "top1_id": "prediction",
    "mean": "logit_mean",
    "std": "logit_std",
    "target_logprob": "answer_logprob",
}
"""What columns of the statistics are called in a shard."""


def prompts_for(length: int) -> list[Prompt]:
    """Prompts shorter than a block, of every remainder or some, and of several blocks."""
    if length <= 8:
        lengths = [*range(1, length + 1), 2 * length + 1, 3 * length]
    else:
        lengths = [1, length - 1, length, 2 * length + 5]
    return [prompt_of(n) for n in sorted(set(lengths))]


def rule_of(model: MaskedDiffusionModel, config: Any) -> Rule:
    """The same settings as the twin takes them."""
    blocks = model.family.blocks
    assert blocks is not None
    sampler = config.sampler
    dynamic = sampler.remasking_strategy == "low_confidence_dynamic"
    return Rule(
        blocks,
        length=sampler.block_length,
        gen_length=sampler.gen_length,
        counts=transfer_counts(sampler.block_length, sampler.steps_of_block),
        mask_id=model.token_ids.mask,
        eos_id=model.token_ids.eos,
        read_offset=model.read_offset,
        first=sampler.remasking_strategy == "sequential",
        threshold=sampler.confidence_threshold if dynamic else math.inf,
    )


def settings_of(length: int, read_offset: int) -> dict[str, Any]:
    """Fewer steps than tokens where there is room. Where predictions stand before their token, a
    block's first one has its own in the block's first step alone, and so commits there."""
    if read_offset:
        return {"remasking_strategy": "sequential", "denoising_steps": min(length, 5)}
    return {"denoising_steps": min(length, 5)}


def assert_equal(seen: Sequence[Seen], passes: Sequence[Pass], answer: Sequence[int], mask: int,
                 *, within: float) -> None:  # fmt: skip
    """What was recorded of a row is what the twin says of it, wherever a token is generated."""
    assert [one.block for one in seen] == [one.block for one in passes]
    for ours, theirs in zip(seen, passes, strict=True):
        n = len(theirs.before)
        assert ours.before[:n].tolist() == theirs.before.tolist()
        assert ours.columns["after"][:n].tolist() == theirs.after.tolist()
        expected = statistics(theirs, answer, mask)
        for name, values in ours.columns.items():
            truth = expected.get(NAMES.get(name, name))
            if truth is None:
                continue
            assert_column(values[:n], truth, name, theirs, within=within)
        for name in ("hidden", "kl", "entropy"):
            assert ours.columns[name][n:].isnan().all(), f"{name} behind the row's end"


def assert_column(ours: Tensor, truth: Tensor, name: str, one: Pass, *, within: float) -> None:
    missing = one.states[:, 0].isnan()
    if truth.dtype == torch.int64:
        assert ours[~missing].tolist() == truth[~missing].tolist(), name
        return
    assert ours[missing].isnan().all(), name
    off = (ours - truth).abs()[~missing].nan_to_num(0)
    assert ours.isnan().equal(truth.isnan()), name
    assert float(off.max()) <= within if off.numel() else True, f"{name}: {float(off.max())}"


@pytest.mark.parametrize("kind", sorted(KINDS))
@pytest.mark.parametrize("length", LENGTHS)
def test_cached_is_uncached_is_dense(
    sdar_double: MaskedDiffusionModel, wide_norm: None, length: int, kind: str
) -> None:
    blocks, read_offset = KINDS[kind]
    model = of_blocks(sdar_double, blocks, read_offset=read_offset)
    gen_length = {1: 3, 3: 7, 4: 11, 8: 13, 32: 37}[length]
    config = config_of(length, gen_length, **settings_of(length, read_offset))
    prompts = prompts_for(length)
    twin, rule = Twin(model.network), rule_of(model, config)
    # The ring keeps the logsumexp of the step before in float32; without one KL is of float64 too.
    kept = watched(model, config, prompts, ring=False)
    whole = watched(model, config, prompts, keeps=False, ring=False)
    for prompt in prompts:
        name = prompt.problem.id
        passes = twin.decode(prompt.token_ids, rule)
        for seen in (kept.steps[name], whole.steps[name]):
            assert_equal(seen, passes, prompt.answer_ids, rule.mask_id, within=EXACTLY)


STRATEGIES: list[dict[str, Any]] = [
    {"denoising_steps": 3},
    {"remasking_strategy": "low_confidence_dynamic", "confidence_threshold": 0.35},
    {"remasking_strategy": "sequential", "denoising_steps": 2},
]


@pytest.mark.parametrize("keeps", [True, False])
@pytest.mark.parametrize("settings", STRATEGIES, ids=str)
def test_in_float32_the_tokens_are_those_of_the_stock_eager_attention(
    sdar: MaskedDiffusionModel, settings: dict[str, Any], keeps: bool
) -> None:
    config = config_of(4, 14, **settings)
    prompts = [prompt_of(n, number=k) for n in (1, 6, 11) for k in range(3)]
    twin, rule = Twin(sdar.network, attention="eager"), rule_of(sdar, config)
    found = watched(sdar, config, prompts, keeps=keeps)
    lengths = set()
    for prompt in prompts:
        passes = twin.decode(prompt.token_ids, rule)
        assert min(one.gap for one in passes) > 1e-5  # else rounding alone would decide
        seen = found.steps[prompt.problem.id]
        assert_equal(seen, passes, prompt.answer_ids, rule.mask_id, within=1e-4)
        lengths.add(len(passes))
    assert (len(lengths) > 3) == ("dynamic" in str(settings))  # there, the texts decide


def test_a_row_ends_with_the_block_that_ends_its_text(sdar: MaskedDiffusionModel) -> None:
    """Its end is a token that the random model likes, so that rows end early, and at blocks of
    their own."""
    config = config_of(4, 24)
    prompts = [prompt_of(n, number=k) for n in (1, 6, 11) for k in range(3)]
    free = watched(sdar, config.changed(eos_early_stop=False), prompts)
    tokens = torch.stack([torch.tensor(c["token"][-1]) for c in free.columns.values()])
    liked = int(tokens.flatten().mode().values)
    model = dataclasses.replace(sdar, token_ids=sdar.token_ids._replace(eos=liked))
    twin, rule = Twin(model.network, attention="eager"), rule_of(model, config)
    for keeps in (True, False):
        found = watched(model, config, prompts, keeps=keeps)
        blocks = set()
        for prompt in prompts:
            passes = twin.decode(prompt.token_ids, rule)
            seen = found.steps[prompt.problem.id]
            assert_equal(seen, passes, prompt.answer_ids, rule.mask_id, within=1e-4)
            blocks.add(passes[-1].block)
        assert len(blocks) > 2
