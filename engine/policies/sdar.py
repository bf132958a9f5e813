"""SDAR's sampler: of the open block, the surest masks, or the first, or all that are sure enough.

Cheng et al. 2025, "SDAR: a synergistic diffusion-autoregression paradigm" (arXiv 2510.06303), by
the published generate.py. Its faults are not reproduced: where its schedule asks for more masks
than a block has left, which the prompt's tail makes happen, it overwrites tokens; its entropy bound
does not run, so that of Ben-Hamu et al. 2025 (arXiv 2505.24857) stands here. Shapes: B rows, K
positions of a block.
"""

from __future__ import annotations

import torch
from torch import Tensor

from ..decoding.block_canvas import BlockCanvas
from ..decoding.policy import Update
from ..models.family import TokenIds
from .block_diffusion import BlockPolicy
from .commits import highest, transfer_counts
from .parallel import Sight
from .sdar_options import SDAROptions


class SDARPolicy(BlockPolicy):
    """One strategy of the published four for the whole run."""

    Options = SDAROptions

    def __init__(self, options: SDAROptions, token_ids: TokenIds, *, n_candidates: int) -> None:
        super().__init__(options, token_ids, n_candidates=n_candidates)
        self.strategy = options.remasking_strategy
        self.threshold = options.confidence_threshold
        self.bound = options.entropy_bound
        self.counts = transfer_counts(options.block_length, options.steps_of_block)

    def choose(self, canvas: BlockCanvas, sight: Sight) -> Update:
        """The masks that commit, by the strategy."""
        token = sight.proposal.token.view(sight.eligible.shape)
        return Update(token, self._chosen(canvas, sight))

    def _chosen(self, canvas: BlockCanvas, sight: Sight) -> Tensor:
        if self.strategy == "entropy_bounded":
            return self._within_bound(sight)
        # The steps that a block has are used up only where it has tokens of the prompt.
        counts = [self.counts[min(s, len(self.counts) - 1)] for s in canvas.steps_in_block]
        if self.strategy == "sequential":
            first = torch.where(sight.eligible, -canvas.position.double(), -torch.inf)
            return highest(first, counts, canvas)
        confidence = torch.where(sight.eligible, sight.confidence, -torch.inf)
        scheduled = highest(confidence, counts, canvas)
        if self.strategy == "low_confidence_static":
            return scheduled
        high = confidence > self.threshold
        enough = high.sum(-1) >= canvas.on_device(counts)
        return torch.where(enough[:, None], high, scheduled)

    def _within_bound(self, sight: Sight) -> Tensor:
        """In the order of rising entropy, masks while the entropies before and with them, less the
        largest, which is their own, are within the bound; the first in any case."""
        ranked = sight.ranked(-sight.entropy)
        entropy = torch.where(ranked.sorted(sight.eligible), ranked.sorted(sight.entropy), 0)
        beside = entropy.cumsum(-1) - entropy
        return ranked.leading(beside <= self.bound)
