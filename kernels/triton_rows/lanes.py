"""What the Triton kernels over a row of logits share: the base-2 constants, the load, and one
lane's arithmetic.

A lane is one column of a tile: it keeps its own running state and meets the other lanes once, at
the end of the row. There is no reduction, and so no barrier, inside a loop. p = softmax(x) is this
step, q = softmax(y) the one before, L = log2 e. Triton is imported with this file, so import it
late.
"""

from __future__ import annotations

from typing import Any, NamedTuple

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


class Lane(NamedTuple):
    """A lane's distribution so far, in the letters of docs/kernels.md."""

    m: Any  # the largest logit
    scaled: Any  # round(m L)
    second: Any  # the second largest logit
    s: Any  # sum 2^z, z = x L - round(m L)
    t: Any  # sum z 2^z
    tile: Any  # where the tile starts in which m was met first


class Moments(NamedTuple):
    """A lane's logits about a centre; meaningless sums once a logit was -inf."""

    lowest: Any
    sum_d: Any  # sum x - centre
    sum_dd: Any


class Compared(NamedTuple):
    """A lane's comparison with the step before, relative to m as S and T are."""

    sum_xy: Any  # sum 2^z (x - y)
    hole: Any  # the largest x where q = 0: if p > 0 there, KL(p || q) is infinite


@triton.jit
def load_raw(row, offsets, mask, MASKED: tl.constexpr):
    """Logits in their own dtype; under a mask, -inf where it is false."""
    if MASKED:
        raw = tl.load(row + offsets, mask=mask, other=float("-inf"))
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
def all_floored(raw, COUNT: tl.constexpr):
    """`floored` of each of COUNT."""
    x = (floored(raw[0]),)
    for r in tl.static_range(1, COUNT):
        x = x + (floored(raw[r]),)
    return x


@triton.jit
def add_logits(lane, x, start, COUNT: tl.constexpr):
    """The lane with COUNT more logits of the tile at `start`; their 2^z, and what older sums were
    scaled by.

    Of all orders of these statements tried, this one needs the fewest registers on every GPU
    (`python -m diffengine.bench.aot`).

    A NaN is not seen by m and `second`: max.f32 and min.f32 return the other operand. Equal values
    count twice.
    """
    m = lane.m
    second = lane.second
    for r in tl.static_range(COUNT):
        second = tl.maximum(second, tl.minimum(m, x[r]))
        m = tl.maximum(m, x[r])

    scaled = tl.fma(m, LOG2E, 0.0)  # no bare product: see the top of sweep.py
    d = lane.scaled - scaled
    scale = tl.exp2(d)  # ex2.approx.ftz: exactly 1 at 0, 0 below 2^-126, else within 2 ulp

    z = (tl.fma(x[0], LOG2E, -scaled),)
    e = (tl.exp2(z[0]),)
    for r in tl.static_range(1, COUNT):
        z = z + (tl.fma(x[r], LOG2E, -scaled),)
        e = e + (tl.exp2(z[r]),)

    s = tl.fma(scale, lane.s, e[0])
    if COUNT >= 2:
        s += e[1]
    if COUNT == 4:
        s += e[2] + e[3]
    t = tl.fma(e[0], z[0], scale * tl.fma(d, lane.s, lane.t))
    for r in tl.static_range(1, COUNT):
        t = tl.fma(e[r], z[r], t)
    tile = tl.where(m > lane.m, start, lane.tile)
    return Lane(m, scaled, second, s, t, tile), e, scale


@triton.jit
def add_differences(compared, x, y, e, scale, COUNT: tl.constexpr):
    """The comparison with COUNT more logits, e = 2^z of each.

    setp.le.f32 is ordered, so a NaN y is no hole; the sum is NaN then, as is what `finish` writes
    for the row.
    """
    sum_xy = scale * compared.sum_xy
    hole = compared.hole
    for r in tl.static_range(COUNT):
        sum_xy = tl.fma(e[r], x[r] - y[r], sum_xy)
        hole = tl.maximum(hole, tl.where(y[r] <= FLOOR, x[r], FLOOR))
    return Compared(sum_xy, hole)


@triton.jit
def add_moments(moments, x, mask, centre, COUNT: tl.constexpr):
    """The moments with COUNT more logits; `mask` masks where COUNT is 1."""
    lowest = moments.lowest
    sum_d = moments.sum_d
    sum_dd = moments.sum_dd
    for r in tl.static_range(COUNT):
        d = x[r] - centre
        if COUNT == 1:
            d = tl.where(mask, d, 0.0)
            lowest = tl.minimum(lowest, tl.where(mask, x[r], lowest))
        else:
            lowest = tl.minimum(lowest, x[r])
        sum_d += d
        sum_dd = tl.fma(d, d, sum_dd)
    return Moments(lowest, sum_d, sum_dd)


@triton.jit
def add_finite(row, start, end, count, sum_d, sum_dd):
    """Count, sum and sum of squares of x - centre with the finite logits of a tile before `end`:
    the slow form for a row that holds -inf."""
    offsets = start + tl.arange(0, count.shape[0])
    x = floored(load_raw(row.X, offsets, offsets < end, True))
    d = tl.where(x > FLOOR, x - row.centre, 0.0)
    return count + tl.where(x > FLOOR, 1.0, 0.0), sum_d + d, tl.fma(d, d, sum_dd)
