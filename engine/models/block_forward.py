"""The forward pass of a model that attends block by block, and what it costs."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from .flops import flops_of_tokens
from .forward import Forward


@dataclass(frozen=True)
class BlockReads:
    """Which packed tokens are `written` [W] from pass to pass, with those among the open positions
    that are their `source` [W], which are `read` [R], and how much a pass computes: `tokens` of rows
    that somebody reads, and `pairs` of query and key among them."""

    written: Tensor
    source: Tensor
    read: Tensor
    tokens: int
    pairs: int


class BlockForward(Forward):
    """The stock class's own pass over the tokens that are not kept yet."""

    @torch.inference_mode()
    def hidden_read(
        self, token_ids: Tensor, positions: Tensor, packing: object, reads: object
    ) -> Tensor:
        """The states [R, D] of the tokens that are read."""
        assert isinstance(reads, BlockReads)
        return self.hidden(token_ids, positions, packing)[reads.read]

    def flops(self, reads: object) -> int:
        """FLOPs of the last call of `hidden_read` with these `reads`, padding not counted."""
        assert isinstance(reads, BlockReads)
        return flops_of_tokens(self.network.config, tokens=reads.tokens, pairs=reads.pairs)
