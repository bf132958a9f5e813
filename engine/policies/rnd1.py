"""RND1's sampler: at each step the positions of highest entropy stay masked, so many that the masks
fall to none in even steps.

`diffusion_sample` of the published rnd/sampling.py, without its entropy bound, which is the policy
`entropy_bound` in the order of confidence. The entropy is that of the distribution that tokens are
drawn from, tempered and cut. Shapes: B rows, G generated positions, S steps.
"""

from __future__ import annotations

import numpy as np
import torch

from ...kernels.head import Proposal, Sampling
from ...kernels.reference import LogitStats
from ...kernels.shaping import Shaping
from ..decoding.canvas import Canvas
from ..decoding.policy import Policy, Update
from ..models.family import TokenIds
from .commits import highest
from .rnd1_options import RND1Options


class RND1Policy(Policy):
    """A schedule that the host knows; of equal entropies the lowest position commits first.

    Temperature 0 takes the likeliest token and the entropies of the model's own distribution. The
    published code divides by 1e-8 instead, which leaves entropies of 0 everywhere and the order to
    chance.
    """

    Options = RND1Options
    looks_back = 0

    def __init__(self, options: RND1Options, token_ids: TokenIds, *, n_candidates: int) -> None:
        self.commits_per_step = even_counts(options.gen_length, options.steps)
        self.performed = [count > 0 for count in self.commits_per_step]
        self.sampling = Sampling(
            temperature=options.temperature,
            seed=options.seed,
            exclude_id=token_ids.mask,
            n_candidates=n_candidates,
            shaping=Shaping(
                top_p=options.top_p, top_k=options.top_k, top_k_first=True, score="entropy"
            ),
        )

    def step(self, canvas: Canvas, proposal: Proposal, stats: LogitStats) -> Update:
        """Choose this step's commits from proposals for all generated positions [B * G]."""
        shape = canvas.generated.shape
        masked = canvas.masked.view(shape)
        score = torch.where(masked, proposal.confidence.view(shape), -torch.inf)
        counts = canvas.due(self.commits_per_step)
        return Update(proposal.token.view(shape), highest(score, counts, canvas), counts)


def even_counts(n_masked: int, steps: int) -> list[int]:
    """How many of `n_masked` positions each step commits: after step i of S there are left
    n_masked (S - 1 - i) / S, rounded down after a product in float32, as published."""
    counts = []
    left = n_masked
    for step in range(steps - 1, -1, -1):
        kept = int(np.float32(n_masked) * np.float32(step / steps))
        counts.append(left - kept)
        left = kept
    return counts
