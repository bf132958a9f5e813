"""How a decoding step runs the network over a packed batch, and what that costs.

`Forward` is the stock class's own pass over all tokens; others compute the same states with less
work: `engine/models/reading.py` leaves out what nobody reads, `engine/models/fused.py` fuses what
lies between the products, `engine/models/compiled.py` compiles. Shapes: T packed tokens, R of them
read, D features.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from .attention import Packing
from .block_attention import BlockPacking
from .block_reads import BlockReads
from .reads import Reads

AnyPacking = Packing | BlockPacking

AnyReads = Reads | BlockReads


class Forward:
    """The stock class's own pass over all tokens."""

    def __init__(self, network: Any) -> None:
        self.network = network

    @torch.inference_mode()
    def hidden(self, token_ids: Tensor, positions: Tensor, packing: AnyPacking) -> Tensor:
        """Final hidden states [T, D] (after the last norm) of packed token ids [T] at RoPE
        positions [T]."""
        out = self.network.model(
            token_ids[None], position_ids=positions[None], packing=packing, use_cache=False
        )
        states: Tensor = out.last_hidden_state[0]
        return states

    def hidden_read(
        self, token_ids: Tensor, positions: Tensor, packing: AnyPacking, reads: AnyReads
    ) -> Tensor:
        """The states [R, D] of the tokens that are read.

        Tokens outside of `reads.written` must be those of the call before with the same `reads`.
        """
        return self.hidden(token_ids, positions, packing)[reads.read]

    def flops(self, reads: AnyReads) -> int:
        """FLOPs of the last call of `hidden_read` with these `reads`, padding not counted."""
        return reads.flops(self.network.config)

    def padded(self, tokens: int) -> int:
        """How many tokens go through the network where a batch has `tokens`."""
        return tokens
