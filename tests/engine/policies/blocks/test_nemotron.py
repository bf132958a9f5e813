"""Nemotron's samplers against the published step written out slowly: on open blocks with planted
ties, and in whole decodings of a small model with a causal context."""

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
from diffengine.engine.policies.nemotron_options import NemotronOptions
from diffengine.kernels.head import Head, Rows

from ...decoding.blocks.watched import of_blocks
from .block_steps import MASK, Open, canvas_of, decide, policy_of
from .published_loops import nemotron, nemotron_commits
from .rows import assert_every_step_is_the_loops, config_of, decoded, prompt_of

STRATEGIES = sorted(("confidence_threshold", "low_confidence", "leftmost"))
PROBABILITIES = (0.0, 0.2, 0.5, 0.5, 0.9, 0.95, 1.0)
KIND = Blocks(length=4, from_prompt_end=True, causal_context=True)


@pytest.fixture(scope="module")
def causal(tiny: MaskedDiffusionModel) -> MaskedDiffusionModel:
    """The tiny model with Nemotron's blocks: from the prompt's end, behind a causal context."""
    return of_blocks(tiny, KIND)


def laid_out(draw: random.Random, length: int, steps: int) -> list[Open]:
    """Blocks with any number of masks at every step."""
    blocks = []
    for step in range(steps):
        for share in (0.3, 0.6, 1.0):
            tokens = [draw.randrange(1, MASK) for _ in range(length)]
            for place in range(length):
                if draw.random() < share:
                    tokens[place] = MASK
            blocks.append(Open(tokens, steps=step))
    return blocks


@pytest.mark.parametrize("length", [4, 8])
@pytest.mark.parametrize("strategy", STRATEGIES)
def test_every_step_commits_what_the_published_one_does(strategy: str, length: int) -> None:
    draw = random.Random(f"{strategy} {length}")
    n_some = n_all = n_surest = 0
    for steps, threshold in itertools.product(range(1, length + 1), (0.1, 0.5, 0.95, 1.0)):
        policy: Any = policy_of(
            "nemotron",
            block_length=length,
            steps_per_block=steps,
            strategy=strategy,
            threshold=threshold,
        )
        blocks = laid_out(draw, length, steps)
        canvas = canvas_of(blocks, kind=KIND)
        shape = canvas.generated.shape
        token = torch.tensor([draw.randrange(MASK) for _ in range(shape.numel())]).view(shape)
        p = torch.tensor(draw.choices(PROBABILITIES, k=shape.numel()), dtype=torch.float64)
        update = decide(policy, canvas, token, p.view(shape), torch.zeros(shape))
        assert torch.equal(update.token, token)
        for row, block in enumerate(blocks):
            masks = [place for place, held in enumerate(block.tokens) if held == MASK]
            sure = p.view(shape)[row].tolist()
            expected = set()
            if masks:
                expected = nemotron_commits(masks, sure, block.steps, policy.options)
            assert set(update.commit[row].nonzero().flatten().tolist()) == expected
            n_some += 1 < len(expected) < len(masks)
            n_surest += len(expected) == 1 < len(masks)
            n_all += len(expected) == len(masks) > 1
    assert min(n_some, n_surest, n_all) > 5


SETTINGS: list[dict[str, Any]] = [
    {"block_length": 4},
    {"block_length": 4, "steps_per_block": 3, "threshold": 0.9},
    {"block_length": 8, "steps_per_block": 2},
    {"block_length": 8, "steps_per_block": 5, "threshold": 0.05},
    {"block_length": 8, "steps_per_block": 1},
    {"block_length": 4, "temperature": 1.0, "seed": 5},
    {"block_length": 8, "temperature": 0.6, "steps_per_block": 3},
]


@pytest.mark.parametrize("strategy", STRATEGIES)
@pytest.mark.parametrize("settings", SETTINGS, ids=str)
def test_every_step_of_a_decoding_is_the_loops(
    causal: MaskedDiffusionModel, settings: dict[str, Any], strategy: str
) -> None:
    options = {"threshold": 0.3, "gen_length": 9, "eos_early_stop": False} | settings
    config = config_of("nemotron", strategy=strategy, **options)
    lengths = (2, 5) if "temperature" in settings else (1, 4, 7, 9)
    rows = assert_every_step_is_the_loops(causal, config, [prompt_of(n) for n in lengths], nemotron)
    for steps in rows:
        assert steps[-1].tokens.count(causal.token_ids.mask) == 0


def test_without_a_cache_the_steps_are_the_same(causal: MaskedDiffusionModel) -> None:
    config = config_of("nemotron", block_length=4, gen_length=9, threshold=0.3)
    prompts = [prompt_of(n) for n in (1, 5)]
    assert_every_step_is_the_loops(causal, config, prompts, nemotron, keeps=False)


@pytest.mark.parametrize("temperature", [0.0, 0.8])
def test_the_mask_token_is_impossible_before_anything_is_judged(temperature: float) -> None:
    """Probabilities .6 of the mask, .3 and .1: a proposal of the second is .75 sure, of the third
    .25, at any temperature."""
    options = {"block_length": 4, "temperature": temperature}
    policy: Any = policy_of("nemotron", **options)
    p = torch.full((MASK + 1,), 0.0)
    p[[MASK, 3, 4]] = torch.tensor([0.6, 0.3, 0.1])
    head = Head(p.log().clamp_min(-1e4)[:, None], sampling=policy.sampling)
    counter = torch.stack([torch.arange(40), torch.zeros(40).long(), torch.zeros(40).long()], 1)
    _, proposal = head.step(Rows(torch.ones(40, 1), counter=counter))
    seen = set(zip(proposal.token.tolist(), proposal.confidence.tolist(), strict=True))
    expected = {3: 0.75, 4: 0.25} if temperature else {3: 0.75}
    assert {token for token, _ in seen} == set(expected)
    for token, confidence in seen:
        assert confidence == pytest.approx(expected[token], rel=1e-6)


def test_a_row_does_not_depend_on_its_mates(causal: MaskedDiffusionModel) -> None:
    """Alone, with others, in a place that somebody left, and with statistics of masks alone."""
    settings = {"block_length": 4, "gen_length": 9, "threshold": 0.3, "temperature": 0.7}
    config = config_of("nemotron", record="masked", **settings)
    prompts = [prompt_of(n) for n in (1, 2, 4, 7, 8, 10)]
    together = decoded(causal, config, prompts)
    narrow = decoded(causal, config, prompts[::-1], budget=40)
    for prompt in prompts:
        name = prompt.problem.id
        alone = decoded(causal, config_of("nemotron", **settings), [prompt])[name]
        for other in (together[name], narrow[name]):
            for column in ("token", "committed"):
                np.testing.assert_array_equal(other[column], alone[column])


def test_a_row_ends_with_the_block_that_holds_the_end(causal: MaskedDiffusionModel) -> None:
    config = config_of("nemotron", block_length=4, gen_length=12, threshold=0.3)
    prompt = prompt_of(5)
    whole = decoded(causal, config, [prompt])[prompt.problem.id]
    ids = causal.token_ids._replace(eos=int(whole["token"][-1][2]))
    model = dataclasses.replace(causal, token_ids=ids)
    (steps,) = assert_every_step_is_the_loops(model, config, [prompt], nemotron)
    assert steps[-1].block == 0


def test_a_threshold_of_1_takes_what_is_certain() -> None:
    policy = policy_of("nemotron", block_length=4, threshold=1.0)
    canvas = canvas_of([Open([MASK] * 4), Open([MASK] * 4), Open([MASK] * 4, steps=3)], kind=KIND)
    token = torch.ones(3, 4, dtype=torch.int64)
    p = torch.tensor([[0.5, 1.0, 0.9, 1.0], [0.5, 0.7, 0.7, 0.1], [0.5, 0.7, 0.7, 0.1]])
    update = decide(policy, canvas, token, p, torch.zeros(3, 4))
    places = [row.nonzero().flatten().tolist() for row in update.commit]
    assert places == [[1, 3], [1], [0, 1, 2, 3]], "two, the first of equals, the last step's"


def test_the_published_defaults() -> None:
    options = NemotronOptions()
    assert (options.block_length, options.steps_of_block) == (32, 32)
    assert (options.strategy, options.threshold) == ("confidence_threshold", 0.9)
    assert NemotronOptions.resolved({"gen_length": 64}, {}).steps == 3 * 32
    assert NemotronOptions.resolved({"gen_length": 64, "steps_per_block": 4}, {}).steps == 3 * 4


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"threshold": 0.0}, "threshold is 0.0; it must be above 0 and at most 1"),
        ({"threshold": 1.5}, "threshold is 1.5; it must be above 0 and at most 1"),
        ({"steps_per_block": 33}, "steps_per_block is 33, block_length 32; .* use 32 or fewer"),
        ({"strategy": "surest"}, "strategy is 'surest'"),
    ],
)
def test_options_that_cannot_be_are_refused(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        NemotronOptions(**options)
