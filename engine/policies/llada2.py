"""LLaDA2's sampler: of the open block, all masks that are sure enough, and as many as a schedule
asks for in any case; in 2.1 also tokens that are committed, where another is sure enough.

Bie et al. 2025, "LLaDA2.0: scaling up diffusion language models to 100B" (arXiv 2512.15745), and
2026, "LLaDA2.1: speeding up text diffusion via token editing" (arXiv 2602.08676), by `generate` of
the published modeling_llada2_moe.py. Shapes: B rows, K positions of a block.
"""

from __future__ import annotations

import torch
from torch import Tensor

from ..decoding.block_canvas import BlockCanvas
from ..decoding.policy import EVERY_STEP, Update
from ..models.family import TokenIds
from .block_diffusion import BlockPolicy
from .commits import highest, transfer_counts
from .llada2_options import LLaDA2Options
from .parallel import Sight


class LLaDA2Policy(BlockPolicy):
    """Joint decoding of one block: masks become tokens and, with an editing threshold, tokens other
    tokens, both from the same pass."""

    Options = LLaDA2Options

    def __init__(self, options: LLaDA2Options, token_ids: TokenIds, *, n_candidates: int) -> None:
        super().__init__(options, token_ids, n_candidates=n_candidates)
        self.threshold = options.threshold
        self.editing_threshold = options.editing_threshold
        self.max_post_steps = options.max_post_steps
        self.counts = transfer_counts(options.block_length, options.split_among)
        if options.num_to_transfer is not None:
            self.counts = [options.num_to_transfer]
        self.reads_committed = options.revises
        if options.revises:
            self.looks_back = EVERY_STEP  # it counts a block's steps without a mask

    def choose(self, canvas: BlockCanvas, sight: Sight) -> Update:
        """The masks that commit, the tokens that are edited, and which blocks are over."""
        token = sight.proposal.token.view(sight.eligible.shape)
        commit = self._chosen(canvas, sight)
        if self.editing_threshold is None:
            return Update(token, commit)
        held = canvas.written & ~sight.eligible
        revised = held & (token != canvas.generated) & (sight.confidence > self.editing_threshold)
        closed = self._closed(canvas, sight.eligible, commit, revised)
        return Update(token, commit, revised=revised, closed=closed)

    def _chosen(self, canvas: BlockCanvas, sight: Sight) -> Tensor:
        """All masks above the threshold, or the surest where these are fewer than are due."""
        counts = [self.counts[min(s, len(self.counts) - 1)] for s in canvas.steps_in_block]
        confidence = torch.where(sight.eligible, sight.confidence, -torch.inf)
        high = confidence > self.threshold
        enough = high.sum(-1) >= canvas.on_device(counts)
        due = highest(confidence, counts, canvas) & sight.eligible
        return torch.where(enough[:, None], high, due)

    def _closed(
        self, canvas: BlockCanvas, masked: Tensor, commit: Tensor, revised: Tensor
    ) -> Tensor:
        """Which blocks [B] are over: those that began the step without a mask and were not edited,
        and those without a mask that have had all their steps of editing."""
        full = ~masked.any(-1)
        settled = full & ~revised.any(-1)
        post_steps = canvas.on_device(canvas.steps_without_masks) + full
        filled = ~(masked & ~commit).any(-1)
        return settled | (filled & (post_steps >= self.max_post_steps))
