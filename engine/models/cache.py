"""Keys and values that do not change any more, kept on the device while their row is on the canvas.

Of a model that attends block by block they are those of the prompt and of full blocks, so that to
keep them is exact. Each row has memory of its own, as long as it can become, which leaves with it.
Shapes: L layers, H key-value heads, T tokens of a row, d head size.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor


class KeyValueCache:
    """Keys and values [L, 2, H, T, d] of each row, by its slot."""

    def __init__(self, config: Any, *, dtype: torch.dtype, device: torch.device) -> None:
        """`config` is transformers'."""
        self._layers, self._heads, self._size = dimensions(config)
        self._dtype = dtype
        self._device = device
        self._rows: dict[int, Tensor] = {}

    def open(self, slot: int, tokens: int) -> None:
        """Room for a row that can become `tokens` long."""
        shape = (self._layers, 2, self._heads, tokens, self._size)
        self._rows[slot] = torch.empty(shape, dtype=self._dtype, device=self._device)

    def close(self, slot: int) -> None:
        """The row in this slot has left."""
        del self._rows[slot]

    def extended(
        self, slot: int, layer: int, cached: int, key: Tensor, value: Tensor
    ) -> tuple[Tensor, Tensor]:
        """All keys and values [H, T, d] that a row has, given those [H, n, d] of the tokens behind
        its `cached` ones; these stay until they are given again."""
        kept = self._rows[slot][layer]
        end = cached + key.shape[1]
        kept[0, :, cached:end] = key
        kept[1, :, cached:end] = value
        return kept[0, :, :end], kept[1, :, :end]

    @property
    def tokens(self) -> int:
        """Tokens that there is room for now."""
        return sum(row.shape[3] for row in self._rows.values())

    @property
    def bytes(self) -> int:
        """Bytes of all rows now."""
        return sum(row.nbytes for row in self._rows.values())


def dimensions(config: Any) -> tuple[int, int, int]:
    """Layers, key-value heads and head size of a network by transformers' `config`."""
    heads = config.num_attention_heads
    size = getattr(config, "head_dim", None) or config.hidden_size // heads
    return config.num_hidden_layers, config.num_key_value_heads, size


def token_bytes(config: Any, item: int) -> int:
    """Bytes that the keys and values of one token take, of `item` bytes each."""
    layers, heads, size = dimensions(config)
    return layers * 2 * heads * size * item
