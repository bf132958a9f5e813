"""Elementwise parts of a decoder layer in plain torch: norm, rotation, gated activation; what the
kernels must equal.

They repeat, rounding by rounding, what transformers' Llama does, in fewer passes over memory where
a kernel serves them (`layer_kernels`). Shapes: T tokens, D features, H heads, d head size, M inner
features.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F


def add_rms_norm(
    states: Tensor, update: Tensor | None, weight: Tensor, *, eps: float
) -> tuple[Tensor, Tensor]:
    """(states + update, their RMS norm times `weight` [D]), both [T, D] in the states' dtype.

    The norm is taken in float32 of the rounded sum (Zhang and Sennrich 2019, eq. 4). Without
    `update` the sum is `states` itself.
    """
    total = states
    if update is not None:
        total = states + update
    wide = total.float()
    mean_square = wide.pow(2).mean(-1, keepdim=True)
    scaled = wide * torch.rsqrt(mean_square + eps)
    normed = weight * scaled.to(total.dtype)
    return total, normed


def rotated(heads: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    """Queries or keys [T, H, d] rotated by position (Su et al. 2021, in halves), in their own
    dtype.

    `cos` and `sin` [T, d]; products and sum have the wider of the two dtypes.
    """
    first, second = heads.chunk(2, dim=-1)
    turned = torch.cat((-second, first), dim=-1)
    cos = cos[:, None]
    sin = sin[:, None]
    wide = heads * cos + turned * sin
    return wide.to(heads.dtype)


def gated(gate: Tensor, up: Tensor) -> Tensor:
    """silu(gate) * up [T, M], each of the two rounded to their dtype (Shazeer 2020, SwiGLU)."""
    return F.silu(gate) * up
