"""Which tokens of a pass over open blocks are written and read, and what the pass costs.

Shapes: R tokens read, W written.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from torch import Tensor

from .flops import flops_of_tokens


@dataclass(frozen=True)
class BlockReads:
    """Which packed tokens are `written` [W] from pass to pass, with those among the open positions
    that are their `source` [W], and which are `read` [R].

    A pass computes `tokens` tokens of rows and `pairs` of query and key among them and those that
    are kept.
    """

    written: Tensor
    source: Tensor
    read: Tensor
    tokens: int
    pairs: int

    def flops(self, config: Any) -> int:
        """FLOPs of all layers, padding not counted; `config` is transformers'."""
        return flops_of_tokens(config, tokens=self.tokens, pairs=self.pairs)
