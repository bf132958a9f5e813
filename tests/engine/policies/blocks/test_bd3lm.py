"""A2D's block sampler against the published loop written out slowly: its schedule in the published
arithmetic, steps on open blocks with planted ties, and whole decodings of a small model."""

from __future__ import annotations

import dataclasses
import random
from typing import Any

import numpy as np
import pytest
import torch

from diffengine.engine.config import ConfigError
from diffengine.engine.models.family import Blocks
from diffengine.engine.models.loading import MaskedDiffusionModel
from diffengine.engine.policies.bd3lm import linear_counts
from diffengine.engine.policies.bd3lm_options import BD3LMOptions
from diffengine.kernels.noise import position_noise

from ...decoding.blocks.watched import of_blocks
from .block_steps import MASK, Open, canvas_of, decide, policy_of
from .published_loops import bd3lm, bd3lm_commits, published_counts
from .rows import assert_every_step_is_the_loops, config_of, decoded, prompt_of

KIND = Blocks(length=4, from_prompt_end=True, whole_last=False)
PROBABILITIES = (0.0, 0.2, 0.5, 0.5, 0.9, 1.0)


@pytest.fixture(scope="module")
def a2d(tiny: MaskedDiffusionModel) -> MaskedDiffusionModel:
    """The tiny model with A2D's blocks: from the prompt's end, the last as short as it comes."""
    return of_blocks(tiny, KIND)


def test_the_schedule_is_the_published_one() -> None:
    n_uneven = 0
    for masks in range(1, 33):
        for steps in range(1, 33):
            counts = linear_counts(masks, steps)
            assert list(counts) == published_counts(masks, steps), (masks, steps)
            assert sum(counts) == masks and min(counts) > 0 and len(counts) <= min(masks, steps)
            n_uneven += sorted(counts, reverse=True) != list(counts)
    assert n_uneven > 100, "no even split with the remainder first"


def test_the_schedule_rounds_half_to_even_and_leaves_steps_out() -> None:
    """4 masks in 8 steps: 4/8 is 0, 4/7 is 1, 3/6 is 0, ..., by hand."""
    assert linear_counts(4, 8) == (1, 1, 1, 1)
    assert linear_counts(6, 4) == (2, 1, 2, 1), "6/4 is 2, 4/3 is 1, 3/2 is 2, 1"
    assert linear_counts(32, 32) == (1,) * 32
    assert linear_counts(32, 1) == (32,)
    assert linear_counts(32, 12) == (3, 3, 3, 3, 3, 2, 3, 2, 3, 2, 3, 2)


def laid_out(draw: random.Random, length: int, width: int, counts: list[int]) -> list[Open]:
    """Blocks of `width` generated tokens at each step of the schedule, with what it leaves."""
    blocks = []
    for step in range(len(counts)):
        for _ in range(3):
            tokens = [draw.randrange(1, MASK) for _ in range(length)]
            for place in draw.sample(range(width), sum(counts[step:])):
                tokens[place] = MASK
            blocks.append(Open(tokens, steps=step))
    return blocks


@pytest.mark.parametrize("remasking", ["low_confidence", "random"])
@pytest.mark.parametrize("length", [4, 8])
def test_every_step_commits_what_the_published_one_does(length: int, remasking: str) -> None:
    draw = random.Random(f"{length} {remasking}")
    n_tied = 0
    for steps in range(1, length + 1):
        for width in range(1, length + 1):
            counts = published_counts(width, steps)
            blocks = laid_out(draw, length, width, counts)
            canvas = canvas_of(blocks, gen_length=width, kind=KIND)
            policy = policy_of(
                "bd3lm",
                block_length=length,
                gen_length=width,
                steps_per_block=steps,
                remasking=remasking,
                seed=3,
            )
            shape = canvas.generated.shape
            token = torch.tensor([draw.randrange(MASK) for _ in range(shape.numel())]).view(shape)
            p = torch.tensor(draw.choices(PROBABILITIES, k=shape.numel())).view(shape)
            noise = position_noise(canvas.noise_counter(), seed=3).view(shape)
            update = decide(policy, canvas, token, p, torch.zeros(shape))
            assert update.closed is None and torch.equal(update.token, token)
            sure = (noise if remasking == "random" else p).tolist()
            for row, block in enumerate(blocks):
                masks = [place for place, token in enumerate(block.tokens) if token == MASK]
                expected = bd3lm_commits(masks, sure[row], counts[block.steps])
                assert set(update.commit[row].nonzero().flatten().tolist()) == expected
                n_tied += len(expected) < len(masks)
    assert n_tied > 20


SETTINGS: list[dict[str, Any]] = [
    {"block_length": 4, "gen_length": 7},
    {"block_length": 4, "gen_length": 3, "steps_per_block": 2},
    {"block_length": 8, "gen_length": 13, "steps_per_block": 5},
    {"block_length": 8, "gen_length": 17, "steps_per_block": 1},
    {"block_length": 4, "gen_length": 6, "steps_per_block": 9},
    {"block_length": 4, "gen_length": 7, "remasking": "random", "seed": 2},
    {"block_length": 4, "gen_length": 7, "temperature": 1.0, "seed": 5},
    {"block_length": 8, "gen_length": 10, "temperature": 0.6, "remasking": "random"},
]


@pytest.mark.parametrize("settings", SETTINGS, ids=str)
def test_every_step_of_a_decoding_is_the_loops(
    a2d: MaskedDiffusionModel, settings: dict[str, Any]
) -> None:
    config = config_of("bd3lm", eos_early_stop=False, **settings)
    lengths = (2, 5) if "temperature" in settings else (1, 2, 4, 7, 9)
    rows = assert_every_step_is_the_loops(a2d, config, [prompt_of(n) for n in lengths], bd3lm)
    for steps in rows:
        assert steps[-1].tokens.count(a2d.token_ids.mask) == 0
        assert steps[-1].block == (settings["gen_length"] - 1) // settings["block_length"]


def test_a_row_does_not_depend_on_its_mates(a2d: MaskedDiffusionModel) -> None:
    """Alone, with others, in a place that somebody left; also where chance says what commits."""
    settings = {"remasking": "random", "temperature": 0.9, "steps_per_block": 3}
    config = config_of("bd3lm", block_length=4, gen_length=9, **settings)
    prompts = [prompt_of(n) for n in (1, 2, 3, 7, 9, 10)]
    together = decoded(a2d, config, prompts)
    narrow = decoded(a2d, config, prompts[::-1], budget=40)
    for prompt in prompts:
        name = prompt.problem.id
        alone = decoded(a2d, config, [prompt])[name]
        for other in (together[name], narrow[name]):
            for column in ("token", "committed"):
                np.testing.assert_array_equal(other[column], alone[column])


def test_a_row_ends_with_the_block_that_holds_the_end(a2d: MaskedDiffusionModel) -> None:
    """Which is whatever the first block says: the later ones are never opened."""
    config = config_of("bd3lm", block_length=4, gen_length=12)
    prompt = prompt_of(5)
    whole = decoded(a2d, config, [prompt])[prompt.problem.id]
    end = int(whole["token"][-1][2])
    ids = dataclasses.replace(a2d, token_ids=a2d.token_ids._replace(eos=end))
    (steps,) = assert_every_step_is_the_loops(ids, config, [prompt], bd3lm)
    assert steps[-1].block == 0 and len(steps) == 4


def test_a_run_has_as_many_steps_as_its_blocks_can_use() -> None:
    given = {"gen_length": 64, "block_length": 32}
    assert BD3LMOptions.resolved(given, {}).steps == 3 * 32
    assert BD3LMOptions.resolved(given | {"steps_per_block": 5}, {}).steps == 3 * 5
    assert BD3LMOptions.resolved(given | {"steps_per_block": 100}, {}).steps == 3 * 32
    assert BD3LMOptions.resolved({}, {"block_length": 8, "steps_per_block": 4}).steps == 17 * 4


def test_the_published_defaults() -> None:
    options = BD3LMOptions()
    assert (options.block_length, options.steps_of_block) == (32, 32)
    assert (options.remasking, options.temperature) == ("low_confidence", 0.0)
    with pytest.raises(ConfigError, match="remasking is 'surest'"):
        BD3LMOptions(remasking="surest")
