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

NAME = "diffengine_packed"


class Packing(NamedTuple):
    """Row boundaries: `offsets` [rows + 1] on the device for CUDA, `groups` (start, rows, length)
    on the host."""

    offsets: Tensor
    groups: tuple[tuple[int, int, int], ...]
    longest: int

    def attend(self, query: Tensor, key: Tensor, value: Tensor, scaling: float | None) -> Tensor:
        """Attention within rows, by plain torch."""
        return by_group(query, key, value, scaling, self.groups)


class PartPacking(NamedTuple):
    """Row boundaries where only a part of each row asks: those of all tokens, and those of the
    asking ones."""

    keys: Packing
    queries: Packing

    def attend(self, query: Tensor, key: Tensor, value: Tensor, scaling: float | None) -> Tensor:
        """Attention of the asking tokens to their whole rows, by plain torch."""
        return by_group(query, key, value, scaling, self.keys.groups, self.queries.groups)


def packing_of(
    lengths: list[int], device: torch.device, *, rows: int = 0, longest: int = 0
) -> Packing:
    """Boundaries of rows with these lengths, in this order; neighbours of equal length form one
    group.

    Empty rows at the end make up for what lacks to `rows`, and `longest` is at least what is given,
    so that shapes can stay the same from step to step.
    """
    ends = list(itertools.accumulate(lengths))
    offsets = on_device([0, *ends, *ends[-1:] * (rows - len(ends))], device, torch.int32)
    return Packing(offsets, groups_of(lengths), max(*lengths, longest))


def groups_of(lengths: Iterable[int]) -> tuple[tuple[int, int, int], ...]:
    """Runs of neighbours of equal length, as (start, rows, length)."""
    groups = []
    start = 0
    for length, same in itertools.groupby(lengths):
        rows = len(list(same))
        groups.append((start, rows, length))
        start += rows * length
    return tuple(groups)


def packed_attention(
    module: torch.nn.Module,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor | None,
    scaling: float | None = None,
    packing: Packing | PartPacking | None = None,
    **_: Any,
) -> tuple[Tensor, None]:
    """Attention of each row to itself; query, key, value are [1, H, T, d]. Returns [1, T, H, d].

    Under a `PartPacking` the queries, and so what is returned, are fewer.
    """
    if packing is None or attention_mask is not None:
        raise ValueError(
            "packed attention needs packing=... and no attention mask; call the model through "
            "`hidden`"
        )
    # float32 RoPE promotes them
    query = query.to(value.dtype)
    key = key.to(value.dtype)
    if query.is_cuda and query.dtype in (
        torch.bfloat16,
        torch.float16,
    ):  # all that the varlen kernel takes
        return _varlen(query, key, value, scaling, packing), None
    return packing.attend(query, key, value, scaling), None


def _varlen(
    query: Tensor, key: Tensor, value: Tensor, scaling: float | None, packing: Packing | PartPacking
) -> Tensor:
    from torch.nn.attention.varlen import varlen_attn

    repeat = query.shape[1] // key.shape[1]
    if repeat > 1:
        key = key.repeat_interleave(repeat, 1)
        value = value.repeat_interleave(repeat, 1)
    q, k, v = (t[0].transpose(0, 1) for t in (query, key, value))  # [T, H, d]
    keys, queries = packing if isinstance(packing, PartPacking) else (packing, packing)
    out: Any = varlen_attn(
        q, k, v, queries.offsets, keys.offsets, queries.longest, keys.longest, scale=scaling
    )
    return out[None]


Groups = tuple[tuple[int, int, int], ...]


def by_group(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    scaling: float | None,
    groups: Groups,
    asking: Groups | None = None,
) -> Tensor:
    """One attention call for each group of rows [1, T, H, d]: the kernel treats each (row, head)
    alone, so the values are those of one row. `asking` are the groups of the queries, one for each
    of `groups`, where those are fewer."""
    out = query.new_empty(1, query.shape[2], query.shape[1], value.shape[3])
    for at_keys, at_queries in zip(groups, asking or groups, strict=True):
        q = _rows_of(query, at_queries)
        k = _rows_of(key, at_keys)
        v = _rows_of(value, at_keys)
        part = F.scaled_dot_product_attention(
            q, k, v, scale=scaling, enable_gqa=q.shape[1] != k.shape[1]
        )
        start, rows, length = at_queries
        out[0, start : start + rows * length] = part.transpose(1, 2).flatten(
            0, 1
        )  # [rows * length, H, d]
    return out


def _rows_of(packed: Tensor, group: tuple[int, int, int]) -> Tensor:
    """The rows [rows, H, length, d] of one group out of [1, H, T, d]; a view."""
    start, rows, length = group
    span = packed[:, :, start : start + rows * length]
    return span if rows == 1 else span[0].unflatten(1, (rows, length)).transpose(0, 1)
