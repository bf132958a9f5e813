"""Fast-dLLM v2's sampler against the published loop written out slowly: steps on open blocks with
planted ties, and whole decodings of a small model whose predictions stand one position before."""

from __future__ import annotations

import dataclasses
import itertools
import random
from typing import Any

import numpy as np
import pytest
import torch

from diffengine.engine.config import ConfigError
from diffengine.engine.models.family import Blocks
from diffengine.engine.models.loading import MaskedDiffusionModel
from diffengine.engine.policies.fast_dllm_v2_options import FastDLLMv2Options

from ...decoding.blocks.watched import of_blocks
from .block_steps import MASK, Open, canvas_of, decide, policy_of
from .published_loops import fast_dllm_v2, fast_dllm_v2_commits
from .rows import assert_every_step_is_the_loops, config_of, decoded, prompt_of

PROBABILITIES = (0.0, 0.2, 0.5, 0.5, 0.9, 0.95, 1.0)


@pytest.fixture(scope="module")
def shifted(tiny: MaskedDiffusionModel) -> MaskedDiffusionModel:
    """The tiny model as if its predictions stood one position before their token."""
    return of_blocks(tiny, Blocks(length=4), read_offset=-1)


def laid_out(draw: random.Random, length: int) -> list[Open]:
    """Blocks with tails of every length and any number of masks, the first token among them."""
    blocks = []
    for tail in range(length):
        for share in (0.3, 0.6, 1.0):
            tokens = [draw.randrange(1, MASK) for _ in range(length)]
            for place in range(tail, length):
                if draw.random() < share:
                    tokens[place] = MASK
            blocks.append(Open(tokens, tail, steps=draw.randrange(length)))
    return blocks


@pytest.mark.parametrize("read_offset", [-1, 0])
@pytest.mark.parametrize("length", [4, 8])
def test_every_step_commits_what_the_published_one_does(length: int, read_offset: int) -> None:
    """Of the first part with a mask; but where predictions stand before their token, the block's
    first one alone, and that the likeliest."""
    draw = random.Random(length)
    n_first = n_several = n_surest = 0
    for threshold, part in itertools.product((0.0, 0.5, 0.95, 1.0), (1, 2, 4, length)):
        options = {"threshold": threshold, "sub_block_length": part}
        policy = policy_of("fast_dllm_v2", block_length=length, **options)
        blocks = laid_out(draw, length)
        canvas = canvas_of(blocks, read_offset=read_offset)
        shape = canvas.generated.shape
        token = torch.tensor([draw.randrange(1, MASK) for _ in range(shape.numel())]).view(shape)
        p = torch.tensor(draw.choices(PROBABILITIES, k=shape.numel())).view(shape)
        update = decide(policy, canvas, token, p, torch.zeros(shape))
        for row, block in enumerate(blocks):
            masks = [place for place, held in enumerate(block.tokens) if held == MASK]
            expected = set()
            written = token[row].tolist()
            if masks and masks[0] == 0 and read_offset < 0:
                expected = {0}
                written[0] = 0  # the likeliest token of the logits that `decide` shows
                n_first += 1
            elif masks:
                begin = masks[0] // part * part
                those = [place for place in masks if place < begin + part]
                expected = fast_dllm_v2_commits(those, p[row].tolist(), threshold)
                n_several += len(expected) > 1
                n_surest += len(expected) == 1 < len(those)
            assert set(update.commit[row].nonzero().flatten().tolist()) == expected
            for place in expected:
                assert int(update.token[row, place]) == written[place]
    assert min(n_several, n_surest) > 5
    assert n_first > 5 or read_offset == 0


GREEDY: list[dict[str, Any]] = [
    {"block_length": 4, "sub_block_length": 4, "threshold": 0.3},
    {"block_length": 4, "sub_block_length": 2, "threshold": 0.0},
    {"block_length": 8, "sub_block_length": 4, "threshold": 0.3},
    {"block_length": 8, "sub_block_length": 2, "threshold": 1.0},
    {"block_length": 8, "sub_block_length": 8, "threshold": 0.5},
]
DRAWN: list[dict[str, Any]] = [
    {"block_length": 4, "sub_block_length": 2, "temperature": 1.0, "seed": 5, "top_p": 1.0},
    {"block_length": 8, "sub_block_length": 4, "temperature": 1.3, "threshold": 0.3},
    {"block_length": 4, "sub_block_length": 4, "temperature": 0.7, "top_p": 0.8, "top_k": 6},
]


@pytest.mark.parametrize("keeps", [True, False], ids=["kept", "not kept"])
@pytest.mark.parametrize("settings", [*GREEDY, *DRAWN], ids=str)
def test_every_step_of_a_decoding_is_the_loops(
    shifted: MaskedDiffusionModel, settings: dict[str, Any], keeps: bool
) -> None:
    """With prompts that end anywhere in a block; where one ends with it, its first token is the
    first that is generated."""
    config = config_of("fast_dllm_v2", gen_length=9, eos_early_stop=False, **settings)
    length = settings["block_length"]
    drawn = "temperature" in settings
    lengths = (3, length) if drawn else (1, length - 1, length, length + 1, 2 * length)
    prompts = [prompt_of(n) for n in lengths]
    rows = assert_every_step_is_the_loops(shifted, config, prompts, fast_dllm_v2, keeps=keeps)
    for n, steps in zip(lengths, rows, strict=True):
        firsts = [step for step in steps if step.committed in ({0}, {-n % length})]
        assert firsts, "a block's first token comes alone"
        assert steps[-1].tokens.count(shifted.token_ids.mask) == 0


def test_a_blocks_first_token_is_the_likeliest_at_any_temperature(
    shifted: MaskedDiffusionModel,
) -> None:
    """Of the same context, whatever the seed; those behind it are drawn."""
    prompt = prompt_of(4)
    first = set()
    second = set()
    for seed in range(8):
        config = config_of(
            "fast_dllm_v2",
            block_length=4,
            sub_block_length=4,
            gen_length=4,
            temperature=2.0,
            seed=seed,
        )
        token = decoded(shifted, config, [prompt])[prompt.problem.id]["token"][-1].tolist()
        first.add(token[0])
        second.add(token[1])
    assert len(first) == 1 < len(second)


def test_a_row_does_not_depend_on_its_mates(shifted: MaskedDiffusionModel) -> None:
    """Alone, with others, in a place that somebody left, and with statistics of masks alone."""
    settings = {"block_length": 4, "sub_block_length": 2, "gen_length": 9, "threshold": 0.3}
    config = config_of("fast_dllm_v2", record="masked", **settings)
    prompts = [prompt_of(n) for n in (1, 2, 4, 7, 8, 10)]
    together = decoded(shifted, config, prompts)
    narrow = decoded(shifted, config, prompts[::-1], budget=40)
    for prompt in prompts:
        name = prompt.problem.id
        alone = decoded(shifted, config_of("fast_dllm_v2", **settings), [prompt])[name]
        for other in (together[name], narrow[name]):
            for column in ("token", "committed"):
                np.testing.assert_array_equal(other[column], alone[column])


def test_a_row_ends_with_the_block_that_holds_the_end(shifted: MaskedDiffusionModel) -> None:
    """Also where the end is a block's first token, which the published loop does not look at."""
    settings = {"block_length": 4, "sub_block_length": 4, "gen_length": 12, "threshold": 0.3}
    config = config_of("fast_dllm_v2", **settings)
    prompt = prompt_of(4)
    whole = decoded(shifted, config, [prompt])[prompt.problem.id]
    for place in (0, 2):
        end = int(whole["token"][-1][place])
        ids = shifted.token_ids._replace(eos=end)
        model = dataclasses.replace(shifted, token_ids=ids)
        (steps,) = assert_every_step_is_the_loops(model, config, [prompt], fast_dllm_v2)
        assert steps[-1].block == 0


def test_the_published_defaults() -> None:
    options = FastDLLMv2Options()
    assert (options.block_length, options.sub_block_length) == (32, 8)
    assert (options.threshold, options.temperature, options.top_p) == (0.95, 0.0, 0.95)
    assert FastDLLMv2Options.resolved({"gen_length": 64}, {}).steps == 3 * 32


def test_parts_that_do_not_divide_the_block_are_refused() -> None:
    with pytest.raises(ConfigError, match="sub_block_length 3 does not divide block_length 8; use"):
        FastDLLMv2Options(block_length=8, sub_block_length=3)
