"""Dream's rule of order: the positions whose distributions have the least entropy commit first.

Ye et al. 2025, "Dream 7B", `alg="entropy"` at temperature 0, with an even number of commits a step.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch

from diffengine.engine.decoding.canvas import Canvas
from diffengine.engine.decoding.policy import Policy, PolicyOptions, Update
from diffengine.engine.models.family import TokenIds
from diffengine.engine.options import option
from diffengine.engine.policies.commits import highest, transfer_counts
from diffengine.kernels.head import Proposal, Sampling
from diffengine.kernels.reference import LogitStats


@dataclass(frozen=True)
class EntropyOptions(PolicyOptions):
    """Steps and lengths are every policy's; `score` is ours."""

    score: str = option("entropy", "What makes a position sure.", choices=("entropy", "margin"))


class EntropyPolicy(Policy):
    """Commit the surest positions, as many in each step as an even split asks for."""

    Options = EntropyOptions

    def __init__(self, options: EntropyOptions, token_ids: TokenIds, *, n_candidates: int) -> None:
        self.score = options.score
        self.sampling = Sampling(exclude_id=token_ids.mask, n_candidates=n_candidates)
        self.counts = transfer_counts(options.gen_length, options.steps)
        self.performed = [count > 0 for count in self.counts]

    def step(self, canvas: Canvas, proposal: Proposal, stats: LogitStats) -> Update:
        """`stats` has a value for each generated position, in the order of `canvas.generated`."""
        shape = canvas.generated.shape
        sureness = stats.margin if self.score == "margin" else -stats.entropy
        masked = canvas.masked.view(shape)
        score = torch.where(masked, sureness.view(shape), -torch.inf)
        counts = canvas.due(self.counts)
        return Update(proposal.token.view(shape), highest(score, counts, canvas), counts)
