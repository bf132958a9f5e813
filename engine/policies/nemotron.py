"""Nemotron-Labs-Diffusion's samplers: of the open block all masks that are sure enough, or an even
share of the surest, or of the first, over the steps that are left.

The three rules under which vLLM decodes these models. How sure a proposal is, is its probability
among all tokens but the mask, before any temperature. Shapes: B rows, K positions of a block.
"""

from __future__ import annotations

import math
from dataclasses import replace

import torch
from torch import Tensor

from ..decoding.block_canvas import BlockCanvas
from ..decoding.policy import Update
from ..models.family import TokenIds
from .block_diffusion import BlockPolicy
from .commits import highest
from .nemotron_options import NemotronOptions
from .parallel import Sight


class NemotronPolicy(BlockPolicy):
    """One strategy of the three for the whole run; the last step of a block commits all masks."""

    Options = NemotronOptions

    def __init__(self, options: NemotronOptions, token_ids: TokenIds, *, n_candidates: int) -> None:
        super().__init__(options, token_ids, n_candidates=n_candidates)
        # To the published code the mask token is impossible before anything else is.
        self.sampling = replace(self.sampling, confidence_suppress=(token_ids.mask,))
        self.strategy = options.strategy
        self.least = math.log(options.threshold)
        self.steps_of_block = options.steps_of_block

    def choose(self, canvas: BlockCanvas, sight: Sight) -> Update:
        """The masks that commit, by the strategy."""
        token = sight.proposal.token.view(sight.eligible.shape)
        return Update(token, self._chosen(canvas, sight))

    def _chosen(self, canvas: BlockCanvas, sight: Sight) -> Tensor:
        left = [self.steps_of_block - step for step in canvas.steps_in_block]
        if self.strategy == "confidence_threshold":
            sure = sight.confidence.log() >= self.least
            is_last = canvas.on_device([int(steps <= 1) for steps in left]).bool()
            accepted = sight.or_surest(sure, score=sight.confidence)
            return accepted | is_last[:, None]

        score = sight.confidence
        if self.strategy == "leftmost":
            score = -canvas.position.double().expand_as(score)
        counts = [
            -(-masks // max(steps, 1)) for masks, steps in zip(canvas.masks_left, left, strict=True)
        ]
        ranked = torch.where(sight.eligible, score, -torch.inf)
        return highest(ranked, counts, canvas)
