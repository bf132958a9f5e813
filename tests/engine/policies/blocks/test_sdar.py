"""SDAR's sampler against the published loop written out slowly: every strategy, step by step on open
blocks with planted ties, and in whole decodings of a small model."""

from __future__ import annotations

import math
import random
from typing import Any

import pytest
import torch

from diffengine.engine.config import ConfigError
from diffengine.engine.models.loading import MaskedDiffusionModel
from diffengine.engine.policies.sdar_options import SDAROptions
from diffengine.kernels.shaping import shaped

from .block_steps import EOS, MASK, Open, canvas_of, decide, policy_of
from .block_twin import Seen, sdar, sdar_commits
from .rows import assert_every_step_is_the_twins, config_of, prompt_of

STRATEGIES = sorted(
    ("low_confidence_dynamic", "low_confidence_static", "sequential", "entropy_bounded")
)
PROBABILITIES = (0.0, 0.2, 0.5, 0.5, 0.8, 0.85, 1.0)
ENTROPIES = (0.0, 0.0, 0.05, 0.1, 0.1, 0.7, 3.0)


def laid_out(draw: random.Random, length: int, steps: int) -> list[Open]:
    """Blocks with tails of every length, any number of masks behind them, at any step."""
    blocks = []
    for tail in range(length):
        for share in (0.3, 0.7, 1.0):
            tokens = [draw.randrange(1, MASK) for _ in range(length)]
            for place in range(tail, length):
                if draw.random() < share:
                    tokens[place] = MASK
            blocks.append(Open(tokens, tail, steps=draw.randrange(steps)))
    return blocks


@pytest.mark.parametrize("length", [4, 8])
@pytest.mark.parametrize("strategy", STRATEGIES)
def test_every_step_commits_what_the_published_one_does(strategy: str, length: int) -> None:
    draw = random.Random(f"{strategy} {length}")
    n_more = n_fewer_masks = n_tied = 0
    for steps in range(1, length + 1):
        for threshold, bound in ((0.0, 0.0), (0.5, 0.1), (0.85, 0.4), (1.0, 100.0)):
            policy: Any = policy_of(
                "sdar",
                block_length=length,
                denoising_steps=steps,
                remasking_strategy=strategy,
                confidence_threshold=threshold,
                entropy_bound=bound,
            )
            blocks = laid_out(draw, length, steps)
            canvas = canvas_of(blocks)
            shape = canvas.generated.shape
            token = torch.tensor([draw.randrange(MASK) for _ in range(shape.numel())]).view(shape)
            p = torch.tensor(draw.choices(PROBABILITIES, k=shape.numel())).view(shape)
            bits = torch.tensor(draw.choices(ENTROPIES, k=shape.numel())).view(shape)
            update = decide(policy, canvas, token, p, bits)
            assert update.revised is None and torch.equal(update.token, token)
            for row, block in enumerate(blocks):
                seen = [
                    Seen(t, sure, float(torch.tensor(h).double()) * math.log(2))
                    for t, sure, h in zip(
                        token[row].tolist(), p[row].tolist(), bits[row].tolist(), strict=True
                    )
                ]
                expected = sdar_commits(block.tokens, seen, block.steps, policy.options, MASK)
                assert set(update.commit[row].nonzero().flatten().tolist()) == expected
                masks = list(block.tokens).count(MASK)
                count = policy.counts[block.steps]
                n_more += len(expected) > count
                n_fewer_masks += masks < count
                n_tied += 0 < len(expected) < masks and strategy != "sequential"
    assert n_fewer_masks > 10
    assert n_more > 10 or strategy in ("low_confidence_static", "sequential")
    assert n_tied > 10 or strategy == "sequential"


GREEDY: list[dict[str, Any]] = [
    {"block_length": 4},
    {"block_length": 4, "denoising_steps": 3},
    {"block_length": 8, "denoising_steps": 2},
    {"block_length": 8, "denoising_steps": 5},
]
DRAWN: list[dict[str, Any]] = [
    {"block_length": 4, "temperature": 1.0, "seed": 5},
    {"block_length": 4, "temperature": 0.6, "top_k": 20},
    {"block_length": 8, "temperature": 1.0, "top_p": 0.7, "denoising_steps": 3},
    {"block_length": 8, "temperature": 1.3, "top_k": 6, "top_p": 0.9, "seed": 1},
]


@pytest.mark.parametrize("strategy", STRATEGIES)
@pytest.mark.parametrize("settings", [*GREEDY, *DRAWN], ids=str)
def test_every_step_of_a_decoding_is_the_twins(
    tiny: MaskedDiffusionModel, settings: dict[str, Any], strategy: str
) -> None:
    """With prompts that end anywhere in a block, those shorter than a block among them; where
    tokens are drawn, which is slow to write out, with some of these."""
    config = config_of(
        "sdar",
        remasking_strategy=strategy,
        confidence_threshold=0.3,
        entropy_bound=1.5,
        gen_length=7,
        eos_early_stop=False,
        **settings,
    )
    length = settings["block_length"]
    lengths = (2, length + 1) if "temperature" in settings else range(1, length + 2)
    prompts = [prompt_of(n) for n in lengths]
    rows = assert_every_step_is_the_twins(tiny, config, prompts, sdar)
    assert max(step.block for steps in rows for step in steps) > 0


def test_top_k_comes_before_top_p() -> None:
    """Of probabilities .5, .3, .2 the two likeliest are .625, .375: top-p .6 leaves one of these,
    and two of the three."""
    policy = policy_of("sdar", block_length=4, temperature=1.0, top_k=2, top_p=0.6)
    shaping = policy.sampling.shaping
    assert shaping is not None and shaping.top_k_first
    x = torch.tensor([[0.5, 0.3, 0.2]]).log()
    assert shaped(x, shaping).isfinite().tolist() == [[True, False, False]]


def one_step(p: list[float], **options: Any) -> list[int]:
    """The places that commit in the first step of a block of four masks."""
    policy = policy_of("sdar", block_length=4, **options)
    canvas = canvas_of([Open([MASK] * 4)])
    token = torch.ones(1, 4, dtype=torch.int64)
    update = decide(policy, canvas, token, torch.tensor([p]), torch.zeros(1, 4))
    return update.commit[0].nonzero().flatten().tolist()


def test_a_threshold_of_0_takes_all_that_are_possible_and_one_of_1_what_is_due() -> None:
    p = [0.2, 0.0, 1.0, 1.0]
    assert one_step(p, confidence_threshold=0.0) == [0, 2, 3]
    assert one_step(p, confidence_threshold=1.0) == [2], "p > 1 never holds; the first of equals"
    assert one_step(p, confidence_threshold=1.0, denoising_steps=2) == [2, 3]
    assert one_step([0.0] * 4, confidence_threshold=0.0) == [0]


def test_a_row_ends_with_the_block_that_holds_the_end() -> None:
    policy = policy_of("sdar", block_length=4, gen_length=8)
    tokens = [[5, MASK, 6, 7], [5, MASK, 6, MASK], [5, MASK, 6, 7], [EOS, MASK, 6, 7]]
    blocks = [Open(row, tail=int(row[0] == EOS)) for row in tokens]
    canvas = canvas_of(blocks, gen_length=8)
    token = torch.tensor([[3, EOS, 3, 3], [3, EOS, 3, 3], [3, 4, 3, 3], [3, 4, 3, 3]])
    update = decide(policy, canvas, token, torch.full((4, 4), 0.1), torch.zeros(4, 4))
    assert update.stopped is not None
    assert update.stopped.tolist() == [True, False, False, False], "full, open, none, the prompt's"


def test_more_steps_than_tokens_are_refused() -> None:
    with pytest.raises(ConfigError, match="denoising_steps is 5, block_length 4; .* use 4 or f"):
        SDAROptions(block_length=4, denoising_steps=5)
