"""Attention block by block over a packed batch: each row to its own tokens, those of a pass and
those that are kept of passes before.

A pass brings the tokens of a row that are not kept yet, the last of which are its open block. Where
they are the open block alone, all of them see all there is and no mask is needed; else the mask of
blocks says what the others see. Each row is a call of its own, so that its values do not depend on
its neighbours; on a GPU the rows without a mask go together, through a kernel that keeps them
apart. Shapes: T packed tokens, H heads, d head size, N new tokens of a row, M tokens of it in all.
"""

from __future__ import annotations

import itertools
from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F

from ...kernels.transfer import on_device
from .cache import KeyValueCache
from .varlen import Boundaries, attention_of_rows, takes_varlen


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


class Together(NamedTuple):
    """The spans that need no mask, for one call of the GPU's kernel: which tokens `at` [Q] of the
    batch they are, and the boundaries of their queries and of their keys, end to end."""

    spans: list[Span]
    at: Tensor
    queries: Boundaries
    keys: Boundaries


@dataclass(frozen=True)
class BlockPacking:
    """The rows of a pass; without a `cache` every pass brings all tokens of a row."""

    spans: tuple[Span, ...]
    cache: KeyValueCache | None
    device: torch.device

    def attend(
        self, layer: int, query: Tensor, key: Tensor, value: Tensor, scaling: float | None
    ) -> Tensor:
        """Attention [1, T, H, d] in one layer, of query, key and value [1, H, T, d]."""
        out = query.new_empty(1, query.shape[2], query.shape[1], value.shape[3])
        alone = self.spans
        if takes_varlen(query):
            alone = tuple(span for span in alone if span.allowed is not None)
            self._attend_together(layer, query, key, value, scaling, out)
        grouped = query.shape[1] != key.shape[1]
        for span in alone:
            end = span.start + span.new
            keys, values = self._seen(span, layer, key, value)
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

    def _seen(self, span: Span, layer: int, key: Tensor, value: Tensor) -> tuple[Tensor, Tensor]:
        """Keys and values [H, M, d] of all tokens of a row."""
        end = span.start + span.new
        keys = key[0, :, span.start : end]
        values = value[0, :, span.start : end]
        if self.cache is None or span.slot < 0:
            return keys, values
        return self.cache.extended(span.slot, layer, span.cached, keys, values)

    def _attend_together(
        self,
        layer: int,
        query: Tensor,
        key: Tensor,
        value: Tensor,
        scaling: float | None,
        out: Tensor,
    ) -> None:
        """The spans without a mask in one call; writes to `out` [1, T, H, d]."""
        together = self._together
        if together is None:
            return
        seen = [self._seen(span, layer, key, value) for span in together.spans]
        keys = torch.cat([keys.transpose(0, 1) for keys, _ in seen])
        values = torch.cat([values.transpose(0, 1) for _, values in seen])
        asking = query[0].transpose(0, 1)[together.at]
        out[0, together.at] = attention_of_rows(
            asking, keys, values, together.queries, together.keys, scaling=scaling
        )

    @cached_property
    def _together(self) -> Together | None:
        """None where all spans have a mask."""
        free = [span for span in self.spans if span.allowed is None]
        return _together_of(free, self.device) if free else None


def _together_of(spans: list[Span], device: torch.device) -> Together:
    at: list[int] = []
    for span in spans:
        at += range(span.start, span.start + span.new)
    queries = [span.new for span in spans]
    keys = [span.cached + span.new for span in spans]
    return Together(spans, on_device(at, device), _ends(queries, device), _ends(keys, device))


def _ends(lengths: list[int], device: torch.device) -> Boundaries:
    offsets = [0, *itertools.accumulate(lengths)]
    return Boundaries(on_device(offsets, device, torch.int32), max(lengths))


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
