"""Bidirectional attention over a packed batch: rows of different lengths end to end, no padding and
no mask.

Registered with transformers under `NAME`; the row boundaries arrive as keyword arguments of the
forward call. No mask function is registered, so transformers builds none. Shapes: T packed tokens,
H heads, d head size.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F

from ...kernels.transfer import on_device
from .block_attention import BlockPacking
from .varlen import Boundaries, attention_of_rows, takes_varlen

NAME = "diffengine_packed"

Group = tuple[int, int, int]
"""Neighbouring rows of one length, as (start, rows, length)."""

Groups = tuple[Group, ...]


class Packing(NamedTuple):
    """Row boundaries: `offsets` [rows + 1] on the device for CUDA, `groups` on the host."""

    offsets: Tensor
    groups: Groups
    longest: int

    def attend(
        self,
        query: Tensor,
        key: Tensor,
        value: Tensor,
        scaling: float | None,
        reach: int | None = None,
    ) -> Tensor:
        """Attention within rows, and within `reach` positions, by plain torch."""
        return by_group(query, key, value, scaling, same(self.groups), reach=reach)


class PartPacking(NamedTuple):
    """Row boundaries where only a part of each row asks: those of all tokens, and those of the
    asking ones."""

    keys: Packing
    queries: Packing

    def attend(
        self,
        query: Tensor,
        key: Tensor,
        value: Tensor,
        scaling: float | None,
        reach: int | None = None,
    ) -> Tensor:
        """Attention of the asking tokens to their rows, within `reach` positions, by plain
        torch."""
        pairs = zip(self.keys.groups, self.queries.groups, strict=True)
        return by_group(query, key, value, scaling, list(pairs), reach=reach)


def packing_of(lengths: list[int], device: torch.device) -> Packing:
    """Boundaries of rows with these lengths, in this order; neighbours of equal length form one
    group."""
    ends = itertools.accumulate(lengths)
    offsets = on_device([0, *ends], device, torch.int32)
    return Packing(offsets, groups_of(lengths), max(lengths))


def groups_of(lengths: Iterable[int]) -> Groups:
    """The groups of rows with these lengths, in this order."""
    groups = []
    start = 0
    for length, alike in itertools.groupby(lengths):
        rows = len(list(alike))
        groups.append((start, rows, length))
        start += rows * length
    return tuple(groups)


def same(groups: Groups) -> list[tuple[Group, Group]]:
    """Pairs of groups for queries that are of the same tokens as the keys."""
    return [(group, group) for group in groups]


def packed_attention(
    module: torch.nn.Module,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor | None,
    scaling: float | None = None,
    packing: Packing | PartPacking | BlockPacking | None = None,
    sliding_window: int | None = None,
    **_: Any,
) -> tuple[Tensor, None]:
    """Attention of each row to itself; query, key, value are [1, H, T, d]. Returns [1, T, H, d].

    Under a `BlockPacking` a row's tokens of passes before count as its own. Under a `PartPacking`
    the queries, and so what is returned, are fewer. A layer with a `sliding_window` sees the tokens
    that are fewer positions away, on both sides (transformers says so of a layer that is not
    causal).
    """
    if packing is None or attention_mask is not None:
        raise ValueError(
            "packed attention needs packing=... and no attention mask; call the model through "
            "`hidden`"
        )
    # float32 RoPE promotes them
    query = query.to(value.dtype)
    key = key.to(value.dtype)
    if isinstance(packing, BlockPacking):
        return packing.attend(_layer_of(module), query, key, value, scaling), None
    reach = None if sliding_window is None else sliding_window - 1
    if takes_varlen(query):
        return _varlen(query, key, value, packing, scaling=scaling, reach=reach), None
    return packing.attend(query, key, value, scaling, reach), None


def _layer_of(module: Any) -> int:
    return int(module.layer_idx)


def _varlen(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    packing: Packing | PartPacking,
    *,
    scaling: float | None,
    reach: int | None,
) -> Tensor:
    q, k, v = (t[0].transpose(0, 1) for t in (query, key, value))  # [T, H, d]
    keys = packing.keys if isinstance(packing, PartPacking) else packing
    # The last query of a row is its last key's, also where there are fewer queries.
    queries = packing.queries if isinstance(packing, PartPacking) else packing
    mixed = attention_of_rows(
        q,
        k,
        v,
        Boundaries(queries.offsets, queries.longest),
        Boundaries(keys.offsets, keys.longest),
        scaling=scaling,
        reach=reach,
    )
    return mixed[None]


def by_group(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    scaling: float | None,
    groups: Iterable[tuple[Group, Group]],
    *,
    reach: int | None = None,
) -> Tensor:
    """One attention call for each group of rows [1, T, H, d]: the kernel treats each (row, head)
    alone, so the values are those of one row. `groups` are those of the keys and of the queries,
    which may be fewer tokens of the same rows: their last ones. With a `reach`, tokens see those up
    to so many positions away."""
    out = query.new_empty(1, query.shape[2], query.shape[1], value.shape[3])
    for key_group, query_group in groups:
        q = _rows_of(query, query_group)
        k = _rows_of(key, key_group)
        v = _rows_of(value, key_group)
        mask = _band(q.shape[2], k.shape[2], reach, q.device)
        part = F.scaled_dot_product_attention(
            q, k, v, mask, scale=scaling, enable_gqa=q.shape[1] != k.shape[1]
        )
        start, rows, length = query_group
        end = start + rows * length
        out[0, start:end] = part.transpose(1, 2).flatten(0, 1)  # [rows * length, H, d]
    return out


def _band(queries: int, keys: int, reach: int | None, device: torch.device) -> Tensor | None:
    """Which of a row's tokens [queries, keys] see each other, the queries being the last of them;
    None where all do."""
    if reach is None or reach >= keys - 1:
        return None
    places = torch.arange(keys, device=device)
    distance = places[keys - queries :, None] - places
    return distance.abs() <= reach


def _rows_of(packed: Tensor, group: Group) -> Tensor:
    """The rows [rows, H, length, d] of one group out of [1, H, T, d]; a view."""
    start, rows, length = group
    span = packed[:, :, start : start + rows * length]
    if rows == 1:
        return span
    heads, _, size = span.shape[1:]
    return span[0].view(heads, rows, length, size).transpose(0, 1)
