"""Fast-dLLM v2's sampler: a block's first token from the block before, then its parts from left to
right, of each all masks that are sure enough.

Wu et al. 2025, "Fast-dLLM v2: efficient block-diffusion LLM" (arXiv 2509.26328), by the published
generation_functions.py without its cache within a block, which is an approximation. The prediction
of a token stands one position before it, so that of a block's first token is made by the block
before, which is full then: the pass after that proposes it alone, always greedily. In models whose
predictions stand at their own position it is a token like others. Shapes: B rows, K positions of a
block.
"""

from __future__ import annotations

import torch
from torch import Tensor

from ..decoding.block_canvas import BlockCanvas
from ..decoding.policy import Update
from ..models.family import TokenIds
from .block_diffusion import BlockPolicy
from .fast_dllm_v2_options import FastDLLMv2Options
from .parallel import Sight


class FastDLLMv2Policy(BlockPolicy):
    """Commit all masks of a part above the threshold, the surest one in any case."""

    Options = FastDLLMv2Options

    def __init__(
        self, options: FastDLLMv2Options, token_ids: TokenIds, *, n_candidates: int
    ) -> None:
        super().__init__(options, token_ids, n_candidates=n_candidates)
        self.threshold = options.threshold
        self.part = options.sub_block_length

    def choose(self, canvas: BlockCanvas, sight: Sight) -> Update:
        """The block's first token where the block before has proposed it, else what the rule
        accepts of the first part with masks."""
        is_first = canvas.position == 0
        opens = sight.eligible[:, :1] & (canvas.read_offset < 0)
        likeliest = sight.stats.top1_id.view(sight.eligible.shape)
        token = torch.where(opens & is_first, likeliest, sight.proposal.token.view(likeliest.shape))
        chosen = torch.where(opens, is_first, self._chosen(canvas, sight))
        return Update(token, chosen)

    def _chosen(self, canvas: BlockCanvas, sight: Sight) -> Tensor:
        first = torch.where(sight.eligible, canvas.position, canvas.width).amin(-1)
        end = (first // self.part + 1) * self.part
        part = Sight(sight.eligible & (canvas.position < end[:, None]), sight.proposal, sight.stats)
        confidence = sight.confidence
        sure = (confidence > self.threshold) & part.eligible
        return part.or_surest(sure, score=confidence)
