"""The terms that compare a row of logits with the row of the step before, element by element
(Triton).

p = softmax(x) is this step, q = softmax(y) the one before, L = log2 e and m a lane's running
maximum of x. All sums but `reverse` are relative to m and are rescaled with it. Knows nothing of
rows, launches or final formulas.
"""

from __future__ import annotations

import triton
import triton.language as tl

from .lanes import FLOOR, LOG2E


@triton.jit
def forward_term(x, y, e, sum_xy, hole):
    """sum e (x - y), and the largest x where q = 0: if p > 0 there, KL(p || q) is infinite.

    setp.le.f32 is ordered, so a NaN y is no hole; the sum is NaN then, as is what `finish` writes
    for the row.
    """
    return tl.fma(e, x - y, sum_xy), tl.maximum(hole, tl.where(y <= FLOOR, x, FLOOR))


@triton.jit
def reverse_term(x, y, lse_y, reverse):
    """sum q (y - x), with q normalised by the stored logsumexp of y."""
    return tl.fma(tl.exp2((y - lse_y) * LOG2E), y - x, reverse)


@triton.jit
def precise_term(x, y, e, scaled_max, shift, sum_f, sum_g):
    """sum e (w + expm1(-w)) and sum e expm1(-w) for w = x - y - shift; every term of the first is
    >= 0.

    KL = F - (r - log1p r) with F = sum p (w + expm1(-w)), r = sum p expm1(-w). Near w = 0 both come
    from the series, elsewhere e^-w p is one exponential of y, so that it neither overflows nor
    multiplies 0 by infinity.
    """
    w = (x - y) - shift
    series = 1.0 / 720.0 - w * (1.0 / 5040.0)
    series = tl.fma(w, tl.fma(w, series, -1.0 / 120.0), 1.0 / 24.0)
    series = w * w * tl.fma(w, tl.fma(w, series, -1.0 / 6.0), 0.5)
    other = tl.exp2(tl.minimum(tl.fma(y + shift, LOG2E, -scaled_max), 120.0))
    near = tl.abs(w) < 0.25
    f = tl.where(near, e * series, tl.fma(e, w - 1.0, other))
    g = tl.where(near, e * (series - w), other - e)
    return sum_f + f, sum_g + g
