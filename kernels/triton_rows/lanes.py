"""What the Triton kernels over a row of logits share: the base-2 constants, the load, and one
lane's arithmetic.

A lane is one column of a tile: it keeps its own running state and meets the other lanes once, at
the end of the row. There is no reduction, and so no barrier, inside a loop. Triton is imported with
this file, so import it late.
"""

from __future__ import annotations

import triton
import triton.language as tl

LOG2E = tl.constexpr(1.4426950408889634)
LN2 = tl.constexpr(0.6931471805599453)
FLOOR = tl.constexpr(-1073741824.0)
"""-2^30, what -inf becomes. A power of two, so that FLOOR * LOG2E is exact: a lane that has seen
nothing else holds 2^(x L - round(m L)) with x = m, and a fused multiply-add would make of a
rounding error of 1e22 an infinity."""
CEILING = tl.constexpr(1073741824.0)
NOWHERE = tl.constexpr(2147483647)


@triton.jit
def load_raw(row, offsets, wanted, MASK: tl.constexpr):
    """Logits in their own dtype; under a mask, -inf where they are not wanted."""
    if MASK:
        raw = tl.load(row + offsets, mask=wanted, other=float("-inf"))
    else:
        raw = tl.load(row + offsets)
    return raw


@triton.jit
def floored(raw):
    """As float32, -inf at FLOOR; a NaN stays one. 0 * -inf would be NaN in every weighted sum, 0 *
    FLOOR is 0.

    max.NaN.f32 on a GPU; without `propagate_nan` it would be max.f32, which turns a NaN into FLOOR.
    """
    return tl.maximum(raw.to(tl.float32), FLOOR, propagate_nan=tl.PropagateNan.ALL)


@triton.jit
def top_two(x, first, second):
    """The two largest of a lane so far and x; equal values count twice. A NaN is not seen: max.f32
    and min.f32 return the other operand."""
    return tl.maximum(first, x), tl.maximum(second, tl.minimum(first, x))


@triton.jit
def add_moments(x, wanted, centre, lowest, sum_d, sum_dd, MASK: tl.constexpr):
    """Smallest logit, sum and sum of squares of x - centre; meaningless sums once a logit was
    -inf."""
    d = x - centre
    if MASK:
        d = tl.where(wanted, d, 0.0)
        x = tl.where(wanted, x, lowest)
    return tl.minimum(lowest, x), sum_d + d, tl.fma(d, d, sum_dd)


@triton.jit
def finite_moments(row, offsets, wanted, centre, count, sum_d, sum_dd):
    """Count, sum and sum of squares of x - centre over finite logits: the slow form for a row that
    holds -inf."""
    x = floored(load_raw(row, offsets, wanted, True))
    d = tl.where(x > FLOOR, x - centre, 0.0)
    return count + tl.where(x > FLOOR, 1.0, 0.0), sum_d + d, tl.fma(d, d, sum_dd)
