"""What the parallel policies share: rows that work on their first block with a mask, and commit as
many positions of it as a rule accepts, the surest one in any case.

They are approximations, and opt-in: positions that commit in one step are chosen from their own
distributions alone, as if they did not depend on each other. Where a rule accepts nothing they
commit one position a step, in the order of its score, and so go the way of the exact sampler.
Shapes: B rows, G generated positions.
"""

from __future__ import annotations

import math
from abc import abstractmethod
from dataclasses import dataclass

import torch
from torch import Tensor

from ...kernels.head import Proposal, Sampling
from ...kernels.reference import LogitStats
from ..decoding.canvas import Canvas
from ..decoding.policy import Policy, Update
from ..models.family import TokenIds
from .commits import by_rank
from .parallel_options import ParallelOptions

NATS_PER_BIT = math.log(2)


@dataclass(frozen=True, eq=False)
class Sight:
    """What a rule sees of a step: which positions are `eligible` [B, G], and what the model says
    there.

    Numbers are float64, so that they are compared with an option as it was written.
    """

    eligible: Tensor
    proposal: Proposal
    stats: LogitStats

    @property
    def confidence(self) -> Tensor:
        """How sure [B, G] the proposal is: its token's probability, unless the policy's `sampling`
        asks for another score."""
        return self.proposal.confidence.double().view(self.eligible.shape)

    @property
    def entropy(self) -> Tensor:
        """Entropy [B, G] of the model's distribution, in nats."""
        bits = self.stats.entropy.double().view(self.eligible.shape)
        return bits * NATS_PER_BIT

    @property
    def divergence(self) -> Tensor:
        """KL divergence [B, G] from the step before, in nats; NaN where there is none."""
        bits = self.stats.kl.double().view(self.eligible.shape)
        return bits * NATS_PER_BIT

    def ranked(self, score: Tensor) -> Ranked:
        """The positions by falling score [B, G], ties to the lowest, those not eligible last."""
        return Ranked(torch.where(self.eligible, score, -torch.inf))

    def or_surest(self, accepted: Tensor, *, score: Tensor) -> Tensor:
        """The `accepted` positions [B, G], and in any case that of the highest score."""
        return accepted | self.ranked(score).first


class Ranked:
    """Positions in the order of a score [B, G], and the way back."""

    def __init__(self, score: Tensor) -> None:
        self.order = by_rank(score)

    @property
    def first(self) -> Tensor:
        """The position [B, G] of rank 0 in each row."""
        taken = torch.zeros_like(self.order, dtype=torch.bool)
        return taken.scatter(-1, self.order[:, :1], True)

    def sorted(self, values: Tensor) -> Tensor:
        """Values of positions [B, G], in the order of the ranks."""
        return values.gather(-1, self.order)

    def leading(self, holds: Tensor) -> Tensor:
        """The positions [B, G] of all ranks before the first at which `holds` [B, G] fails."""
        run = holds.int().cumprod(-1).bool()
        return torch.zeros_like(run).scatter_(-1, self.order, run)


class ParallelPolicy(Policy):
    """One free schedule for all rules; a rule is what `choose` says.

    The mask token is never proposed, so each step leaves fewer masks and a row needs no more steps
    than it has tokens. A row that reaches `steps` before leaves with masks in it.
    """

    free_schedule = True
    looks_back = 0

    def __init__(self, options: ParallelOptions, token_ids: TokenIds, *, n_candidates: int) -> None:
        self.block_length = options.block_length
        self.performed = [True] * options.steps
        self.sampling = sampling_of(options, token_ids, n_candidates)

    def block_of(self, step: int) -> int:
        """-1: rows are at blocks of their own."""
        return -1

    def step(self, canvas: Canvas, proposal: Proposal, stats: LogitStats) -> Update:
        """Commit what the rule chooses of each row's block."""
        eligible = first_block(canvas, self.block_length)
        chosen = self.choose(canvas, Sight(eligible, proposal, stats))
        return Update(proposal.token.view(eligible.shape), chosen & eligible)

    @abstractmethod
    def choose(self, canvas: Canvas, sight: Sight) -> Tensor:
        """The positions [B, G] that commit, one of each row's eligible ones at least; what it says
        of others does not count."""


def sampling_of(options: ParallelOptions, token_ids: TokenIds, n_candidates: int) -> Sampling:
    """Proposals as LLaDA's sampler makes them; the mask token is never one."""
    return Sampling(
        temperature=options.temperature,
        seed=options.seed,
        exclude_id=token_ids.mask,
        n_candidates=n_candidates,
    )


def first_block(canvas: Canvas, block_length: int) -> Tensor:
    """The masked positions [B, G] of each row's first block that has any."""
    masked = canvas.generated == canvas.mask_id
    first = torch.where(masked, canvas.position, canvas.gen_length).amin(-1)
    end = (first // block_length + 1) * block_length
    return masked & (canvas.position < end[:, None])
