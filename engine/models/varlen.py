"""Torch's attention kernel for rows of different lengths, which a GPU has.

It needs no mask and no padding: the rows lie end to end, and their boundaries say which is which.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
from torch import Tensor

VARLEN_DTYPES = (torch.bfloat16, torch.float16)
"""All that the kernel takes."""


class Boundaries(NamedTuple):
    """Where rows begin and end: `offsets` [rows + 1] in int32 on the device, and the `longest`."""

    offsets: Tensor
    longest: int


def takes_varlen(query: Tensor) -> bool:
    """Whether the kernel is there for queries like these."""
    return query.is_cuda and query.dtype in VARLEN_DTYPES


def attention_of_rows(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    queries: Boundaries,
    keys: Boundaries,
    *,
    scaling: float | None,
    reach: int | None = None,
) -> Tensor:
    """Attention [T, H, d] of each row's queries [T, H, d] to its own keys and values [U, H', d], of
    which H' divides H; within `reach` positions, the last query being beside the last key."""
    from torch.nn.attention.varlen import varlen_attn

    repeat = query.shape[1] // key.shape[1]
    if repeat > 1:
        key = key.repeat_interleave(repeat, 1)
        value = value.repeat_interleave(repeat, 1)
    # (-1, -1) is no bound.
    window = (-1, -1) if reach is None else (reach, reach)
    out: Any = varlen_attn(
        query,
        key,
        value,
        queries.offsets,
        keys.offsets,
        queries.longest,
        keys.longest,
        scale=scaling,
        window_size=window,
    )
    mixed: Tensor = out
    return mixed
