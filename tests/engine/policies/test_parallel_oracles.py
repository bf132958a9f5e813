"""The commit rules against second implementations that others published: diffusers' schedulers and
transformers' sampler of DiffusionGemma, on random logits with planted ties.

Where they differ by definition the test says so by name: diffusers' threshold is strict (p > tau)
where ours is Fast-dLLM's p >= tau; both of their sorts leave the order of equal values open, where
ours is that of positions; theirs may propose the mask token.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from diffusers.schedulers.scheduling_block_refinement import BlockRefinementScheduler
from diffusers.schedulers.scheduling_entropy_bound import EntropyBoundScheduler
from transformers.models.diffusion_gemma.generation_diffusion_gemma import (
    EntropyBoundSampler,
    EntropyBoundSamplerConfig,
)

from diffengine.engine.decoding.policy import Policy, Update
from diffengine.kernels.head import Proposal
from diffengine.kernels.reference import logit_stats

sys.path.append(str(Path(__file__).parent))
from parallel_steps import MASK, VOCABULARY, canvas_of, policy_of

B, G, V = 24, 12, VOCABULARY


def ours(policy: Policy, generated: torch.Tensor, logits: torch.Tensor) -> tuple[Update, Proposal]:
    """What the policy commits, and the proposals that it had to choose from."""
    rows = logits.flatten(0, 1)
    stats = logit_stats(rows, exclude_id=MASK)
    proposal = Proposal(stats.top1_id, stats.top1_prob)
    canvas = canvas_of(generated)
    return canvas.allowed(policy.step(canvas, proposal, stats)), proposal


def cases(seed: int, n: int, dtype: torch.dtype = torch.float32) -> Iterator[Any]:
    """Logits [B, G, V] of every sharpness, half of them with rows that are equal, and canvases
    [B, G] with any number of masks. No row prefers the mask token."""
    generator = torch.Generator().manual_seed(seed)
    for case in range(n):
        logits = torch.randn(B, G, V, generator=generator, dtype=dtype)
        logits *= 6 * torch.rand(B, G, 1, generator=generator)
        if case % 2:
            source = torch.randint(0, 3, (B, G), generator=generator)
            logits = logits.gather(1, source[:, :, None].expand(-1, -1, V))
        logits[:, :, MASK] = -30.0
        tokens = torch.randint(0, MASK, (B, G), generator=generator)
        share = torch.rand(B, 1, generator=generator)
        masked = torch.rand(B, G, generator=generator) < share
        masked[:, 0] |= ~masked.any(-1)
        yield logits, torch.where(masked, MASK, tokens)


def just_below(value: float) -> float:
    """The float32 before: p >= value is p > that."""
    return float(np.nextafter(np.float32(value), np.float32(-1)))


def assert_same_but_for_ties(
    chosen: torch.Tensor, theirs: torch.Tensor, score: torch.Tensor
) -> None:
    """Equal sets in each row [B, G], or equal in what they score where equals stood at the end."""
    assert torch.equal(chosen.sum(-1), theirs.sum(-1))
    for row in range(len(chosen)):
        if not torch.equal(chosen[row], theirs[row]):
            mine = score[row][chosen[row]].sort().values
            other = score[row][theirs[row]].sort().values
            torch.testing.assert_close(mine, other, rtol=0, atol=1e-12)


def test_threshold_is_diffusers_block_refinement() -> None:
    scheduler = BlockRefinementScheduler(block_length=G)
    scheduler.set_timesteps(G)
    n_parallel, n_at_the_threshold = 0, 0
    for index, (logits, generated) in enumerate(cases(seed=1, n=120)):
        # Every other threshold is one of the confidences, so that some lie on it.
        confidences = logits.softmax(-1).amax(-1).flatten()
        tau = float(confidences[index % len(confidences)]) if index % 2 else index / 120
        update, proposal = ours(
            policy_of("threshold", threshold=tau, gen_length=G), generated, logits
        )
        sample, moved, *_ = scheduler.step(
            logits,
            0,
            generated,
            mask_token_id=MASK,
            threshold=just_below(tau),
            return_dict=False,
        )
        confidence = proposal.confidence.view(B, G)
        assert_same_but_for_ties(update.commit, moved, confidence)
        both = update.commit & moved
        assert torch.equal(sample[both], update.token[both])
        n_parallel += int((update.commit.sum(-1) > 1).sum())
        lies_on_it = (confidence == tau) & (generated == MASK)
        n_at_the_threshold += int(lies_on_it.sum())
    assert n_parallel > 500 and n_at_the_threshold > 100


def test_diffusers_threshold_is_strict_and_fast_dllms_is_not() -> None:
    logits = torch.full((1, 3, V), -torch.inf)
    logits[:, :, :2] = 0.0
    generated = torch.full((1, 3), MASK)
    scheduler = BlockRefinementScheduler(block_length=3)
    scheduler.set_timesteps(3)
    _, moved, *_ = scheduler.step(
        logits, 0, generated, mask_token_id=MASK, threshold=0.5, return_dict=False
    )
    policy = policy_of("threshold", threshold=0.5, gen_length=3)
    update, _ = ours(policy, generated, logits)
    assert update.commit.tolist() == [[True, True, True]]
    assert int(moved.sum()) == 1


def test_a_schedule_that_nothing_is_ready_for_is_diffusers_with_an_unreachable_threshold() -> None:
    """KLASS at the first step of its block commits what the even split asks for."""
    for steps, (logits, generated) in zip([1, 2, 3, 5, 12] * 4, cases(seed=2, n=20), strict=True):
        scheduler = BlockRefinementScheduler(block_length=G)
        scheduler.set_timesteps(steps)
        update, proposal = ours(policy_of("klass", steps=steps, gen_length=G), generated, logits)
        _, moved, *_ = scheduler.step(
            logits, 0, generated, mask_token_id=MASK, threshold=2.0, return_dict=False
        )
        assert_same_but_for_ties(update.commit, moved, proposal.confidence.view(B, G))


def transformers_accept(logits: torch.Tensor, bound: float) -> torch.Tensor:
    """The positions [n] of logits [n, V] that EntropyBoundSampler accepts."""
    n = len(logits)
    sampler = EntropyBoundSampler(EntropyBoundSamplerConfig(bound), n, V, 1)
    blank = torch.zeros(1, n, dtype=torch.int64)
    return sampler.accept_canvas(blank, blank + 1, logits[None], 0)[0] == 1


def diffusers_accept(logits: torch.Tensor, bound: float) -> torch.Tensor:
    """The same of EntropyBoundScheduler, without its temperature."""
    scheduler = EntropyBoundScheduler(entropy_bound=bound, t_max=1.0, t_min=1.0)
    blank = torch.zeros(1, len(logits), dtype=torch.int64)
    return scheduler.step(logits[None], 0, blank).accepted_index[0]


def cut_among_equals(
    chosen: torch.Tensor, masked: torch.Tensor, score: torch.Tensor
) -> torch.Tensor:
    """Rows [B] in which a position stays masked whose score is that of a chosen one."""
    last = torch.where(chosen, score, -torch.inf).amax(-1, keepdim=True)
    return (masked & ~chosen & (score == last)).any(-1)


@pytest.mark.parametrize("accept", [transformers_accept, diffusers_accept])
def test_entropy_bound_is_theirs_on_the_masked_positions(accept: Any) -> None:
    n_parallel, n_tied = 0, 0
    for index, (logits, generated) in enumerate(cases(seed=3, n=60, dtype=torch.float64)):
        bound = 0.01 + 0.15 * index
        update, _ = ours(policy_of("entropy_bound", bound=bound, gen_length=G), generated, logits)
        theirs = torch.zeros(B, G, dtype=torch.bool)
        for row in range(B):
            places = (generated[row] == MASK).nonzero().squeeze(-1)
            theirs[row, places] = accept(logits[row, places], bound)
        entropy = torch.distributions.Categorical(logits=logits).entropy()
        assert_same_but_for_ties(update.commit, theirs, entropy)
        n_parallel += int((update.commit.sum(-1) > 1).sum())
        n_tied += int(cut_among_equals(update.commit, generated == MASK, entropy).sum())
    assert n_parallel > 500 and n_tied > 0


def test_the_two_published_orders_of_the_entropy_bound_differ() -> None:
    """A position of a likely token and a long tail comes first by confidence, last by entropy."""
    likely = torch.tensor([0.6, *[0.4 / 17] * 17, 0.0, 0.0], dtype=torch.float64)
    even = torch.tensor([0.5, 0.5, *[0.0] * 18], dtype=torch.float64)
    logits = torch.stack([likely, even, even]).log()[None]
    generated = torch.full((1, 3), MASK)
    by_entropy = policy_of("entropy_bound", bound=0.7, gen_length=3)
    by_confidence = policy_of("entropy_bound", bound=0.7, order="confidence", gen_length=3)
    assert ours(by_entropy, generated, logits)[0].commit.tolist() == [[False, True, True]]
    assert ours(by_confidence, generated, logits)[0].commit.tolist() == [[True, True, False]]
