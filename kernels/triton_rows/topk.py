"""The k largest logits of each row from its lane maxima (Triton), without reading the row again.

Every one of the k largest lies in one of the k lanes whose maxima are largest: otherwise k larger
elements exist. So those lanes alone, k * V / LANES elements, are loaded and searched. Among equal
values across the k-th place any may be taken; which one is fixed by the kernel, and among the taken
the lowest id comes first.
"""

from __future__ import annotations

import triton
import triton.language as tl

from .lanes import NOWHERE, floored

ABSENT = tl.constexpr(-2147483648.0)
"""Below FLOOR: what is not a logit loses against one that is -inf."""


@triton.jit
def topk_from_lanes(
    X,
    LANE_MAX,
    IDS,
    VALUES,
    stride_x,
    V,
    parts,
    k,
    LANES: tl.constexpr,
    K: tl.constexpr,
    DEPTH: tl.constexpr,
):
    """Grid (rows,). LANE_MAX [N, parts, LANES]; K >= k and DEPTH >= V / LANES are powers of two."""
    row = tl.program_id(0).to(tl.int64)
    X += row * stride_x
    lane = tl.arange(0, LANES)
    maxima = tl.full((LANES,), ABSENT, tl.float32)
    for part in range(0, parts):
        maxima = tl.maximum(maxima, tl.load(LANE_MAX + (row * parts + part) * LANES + lane))
    maxima = tl.where(lane < V, maxima, ABSENT)

    slot = tl.arange(0, K)
    chosen = tl.full((K,), NOWHERE, tl.int32)
    for j in range(0, k):
        best = tl.max(maxima, axis=0)
        winner = tl.min(tl.where(maxima == best, lane, NOWHERE), axis=0)
        chosen = tl.where(slot == j, winner, chosen)
        maxima = tl.where(lane == winner, float("-inf"), maxima)

    depth = tl.arange(0, DEPTH)
    taken = chosen[:, None] < LANES
    ids = tl.where(taken, chosen[:, None], 0) + depth[None, :] * LANES
    real = taken & (ids < V)
    x = floored(tl.load(X + ids, mask=real, other=float("-inf")))
    x = tl.where(real, x, ABSENT)
    for j in range(0, k):
        best = tl.max(tl.max(x, axis=1), axis=0)
        winner = tl.min(tl.min(tl.where((x == best) & real, ids, NOWHERE), axis=1), axis=0)
        safe = tl.minimum(winner, V - 1)  # a row with a NaN has no winner
        tl.store(IDS + row * k + j, safe.to(tl.int64))
        tl.store(VALUES + row * k + j, tl.load(X + safe))
        x = tl.where(ids == winner, float("-inf"), x)
