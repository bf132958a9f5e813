"""Attention block by block over a packed batch: each row to its own tokens, those of a pass and
those that are kept of passes before.

A pass brings the tokens of a row that are not kept yet, the last of which are its open block. Where
they are the open block alone, all of them see all there is and no mask is needed; else the mask of
blocks says what the others see. Each row is a call of its own, so that its values do not depend on
its neighbours. Shapes: T packed tokens, H heads, d head size, N new tokens of a row, M tokens of it
in all.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F

from .cache import KeyValueCache


class Span(NamedTuple):
    """The tokens of one row in a pass: `new` from `start` on in the batch, behind `cached` ones
    that are kept under `slot`. `allowed` [N, M] says what they see; None: everything."""

    start: int
    new: int
    cached: int
    slot: int
    allowed: Tensor | None

    @property
    def pairs(self) -> int:
        """Pairs of query and key, those that a mask leaves out included."""
        return self.new * (self.cached + self.new)


@dataclass(frozen=True)
class BlockPacking:
    """The rows of a pass; without a `cache` every pass brings all tokens of a row."""

    spans: tuple[Span, ...]
    cache: KeyValueCache | None

    def attend(
        self, layer: int, query: Tensor, key: Tensor, value: Tensor, scaling: float | None
    ) -> Tensor:
        """Attention [1, T, H, d] in one layer, of query, key and value [1, H, T, d]."""
        grouped = query.shape[1] != key.shape[1]
        out = query.new_empty(1, query.shape[2], query.shape[1], value.shape[3])
        for span in self.spans:
            end = span.start + span.new
            keys = key[0, :, span.start : end]
            values = value[0, :, span.start : end]
            if self.cache is not None and span.slot >= 0:
                keys, values = self.cache.extended(span.slot, layer, span.cached, keys, values)
            part = F.scaled_dot_product_attention(
                query[:, :, span.start : end],
                keys[None],
                values[None],
                span.allowed,
                scale=scaling,
                enable_gqa=grouped,
            )
            out[0, span.start : end] = part[0].transpose(0, 1)
        return out


def seen_by_blocks(
    new: range, *, block_length: int, shift: int, open_from: int | None, device: torch.device
) -> Tensor:
    """Which tokens of a row, up to the last of `new`, those at the positions `new` see, [N, M].

    Position p is in block (p + `shift`) // `block_length`. Where `open_from` is None a token sees
    its block and those before; else one before `open_from` sees itself and the tokens before it,
    and one from there on everything.
    """
    query = torch.arange(new.start, new.stop, device=device)[:, None]
    key = torch.arange(new.stop, device=device)[None, :]
    if open_from is not None:
        return (key <= query) | (query >= open_from)
    return (key + shift) // block_length <= (query + shift) // block_length
