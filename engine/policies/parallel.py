"""What the parallel policies share: rows that work on their first block with a mask, and commit as
many positions of it as a rule accepts, the surest one in any case.

They are approximations, and opt-in: positions that commit in one step are chosen from their own
distributions alone, as if they did not depend on each other. Where a rule accepts nothing they
commit one position a step, in the order of its score, and so go the way of the exact sampler.
Shapes: B rows, G generated positions.
"""

from __future__ import annotations

from abc import abstractmethod
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

from ...kernels.head import Proposal, Sampling
from ...kernels.reference import LogitStats
from ..decoding.canvas import Canvas
from ..decoding.policy import Policy, Update
from ..models.family import TokenIds
from .commits import rank_of
from .parallel_options import ParallelOptions


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
        """Probability [B, G] of the proposed token."""
        return self.proposal.confidence.double().view(self.eligible.shape)


class Judgement(NamedTuple):
    """How sure each position [B, G] is, the higher the surer, and whether it may commit."""

    score: Tensor
    accepted: Tensor


class ParallelPolicy(Policy):
    """One free schedule for all rules; a rule is what `judge` says.

    The mask token is never proposed, so each step leaves fewer masks and a row needs no more steps
    than it has tokens. A row that reaches `steps` before leaves with masks in it.
    """

    free_schedule = True

    def __init__(self, options: ParallelOptions, token_ids: TokenIds, *, n_candidates: int) -> None:
        self.block_length = options.block_length
        self.performed = [True] * options.steps
        self.sampling = Sampling(
            temperature=options.temperature,
            seed=options.seed,
            exclude_id=token_ids.mask,
            n_candidates=n_candidates,
        )

    def block_of(self, step: int) -> int:
        """-1: rows are at blocks of their own."""
        return -1

    def step(self, canvas: Canvas, proposal: Proposal, stats: LogitStats) -> Update:
        """Commit what the rule accepts of each row's block, and the surest position of it."""
        eligible = first_block(canvas, self.block_length)
        judgement = self.judge(Sight(eligible, proposal, stats))
        score = torch.where(eligible, judgement.score, -torch.inf)
        surest = rank_of(score) == 0
        commit = eligible & (judgement.accepted | surest)
        return Update(proposal.token.view(eligible.shape), commit)

    @abstractmethod
    def judge(self, sight: Sight) -> Judgement:
        """What the rule says of each position."""


def first_block(canvas: Canvas, block_length: int) -> Tensor:
    """The masked positions [B, G] of each row's first block that has any."""
    masked = canvas.generated == canvas.mask_id
    first = torch.where(masked, canvas.position, canvas.gen_length).amin(-1)
    end = (first // block_length + 1) * block_length
    return masked & (canvas.position < end[:, None])
