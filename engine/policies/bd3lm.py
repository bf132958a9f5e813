"""A2D's block sampler: of the open block, a number of the surest masks that falls as the published
schedule has it.

The `bd3lm` sampler of the dLLM library (github.com/ZHZisZZ/dllm), with its linear schedule. Three
of its ways are not followed: a generated padding token, which becomes invisible to later blocks
there and shifts their positions; the mask token as a proposal, which spends a commit on nothing;
and logits shifted by one position, for models that no checkpoint is known of. Shapes: B rows, K
positions of a block.
"""

from __future__ import annotations

from functools import lru_cache

import numpy as np
import torch

from ...kernels.noise import position_noise
from ..decoding.block_canvas import BlockCanvas
from ..decoding.policy import Update
from ..models.family import TokenIds
from .bd3lm_options import BD3LMOptions
from .block_diffusion import BlockPolicy
from .commits import highest
from .parallel import Sight


class BD3LMPolicy(BlockPolicy):
    """A fixed number of commits a step, by how many masks the block began with."""

    Options = BD3LMOptions

    def __init__(self, options: BD3LMOptions, token_ids: TokenIds, *, n_candidates: int) -> None:
        super().__init__(options, token_ids, n_candidates=n_candidates)
        self.steps_of_block = options.steps_of_block
        self.is_random = options.remasking == "random"
        self.seed = options.seed

    def choose(self, canvas: BlockCanvas, sight: Sight) -> Update:
        """The surest masks, or some by chance, as many as the schedule says."""
        confidence = sight.confidence
        if self.is_random:
            noise = position_noise(canvas.noise_counter(), seed=self.seed)
            confidence = noise.double().view(confidence.shape)
        score = torch.where(sight.eligible, confidence, -torch.inf)
        chosen = highest(score, self._due(canvas), canvas)
        return Update(sight.proposal.token.view(chosen.shape), chosen)

    def _due(self, canvas: BlockCanvas) -> list[int]:
        counts = []
        for tokens, step in zip(canvas.block_tokens, canvas.steps_in_block, strict=True):
            of_block = linear_counts(tokens, self.steps_of_block)
            counts.append(of_block[step] if step < len(of_block) else tokens)
        return counts


@lru_cache
def linear_counts(n_masked: int, steps: int) -> tuple[int, ...]:
    """How many of `n_masked` masks each step commits on the way from t = 1 to 0 in `steps` even
    steps: of those left the share 1 - s / t, rounded half to even; steps without any left out.

    In float32 where the published code is, since ties decide.
    """
    counts = []
    for step in range(steps, 0, -1):
        t = np.float32(step / steps)
        s = np.float32((step - 1) / steps)
        one = np.float32(1)
        stays_masked = (one - (one - s)) / (one - (one - t))
        count = min(round(n_masked * (1 - float(stays_masked))), n_masked)
        counts.append(count)
        n_masked -= count
    return tuple(count for count in counts if count)
