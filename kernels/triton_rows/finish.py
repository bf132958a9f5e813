"""Merge the parts of each row that `sweep` left and write the statistics (Triton); one lane per
row.

Merging (m, S, T) of two parts is the same formula as merging two lanes; count, mean and spread
merge as in Chan, Golub and LeVeque 1979. The order is fixed, there are no atomics, so a call
repeated gives the same bits.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import triton
import triton.language as tl

from .lanes import CEILING, FLOOR, LN2, LOG2E, NOWHERE
from .parts import (
    BEST,
    CENTRE,
    COUNTED,
    FIELDS,
    HOLE,
    PEAK,
    SCALED_PEAK,
    SECOND,
    SUM_D,
    SUM_DD,
    SUM_S,
    SUM_T,
    SUM_XY,
)

NOT_FINITE = tl.constexpr(1)
EMPTY = tl.constexpr(2)
SMALLEST = tl.constexpr(-150.0)
"""log2 of what float32 still rounds to a probability above 0. Not asked of 2^x: ex2.approx.ftz
gives 0 below 2^-126."""
INFINITY = tl.constexpr(float("inf"))
"""There is no such name for NaN: Triton compares the globals of a kernel at every launch, and NaN
is never what it was."""


class Swept(NamedTuple):
    """What the sweep left of each row: where its first part lies, and of how many."""

    PART: Any
    ARG: Any
    parts: Any
    present: Any  # whether there is such a row


class Largest(NamedTuple):
    """The largest logits of a row: of all, the second, of the candidates with its id, and the
    scaled one."""

    peak: Any
    second: Any
    best: Any
    best_id: Any
    top: Any  # round(m L)


class Distribution(NamedTuple):
    """Sums over a row relative to its largest logit, and where they mean something."""

    top: Any
    s: Any
    t: Any
    log_s: Any  # log2 S
    lse: Any  # nats
    broken: Any  # a NaN or +inf
    empty: Any  # all -inf
    defined: Any  # neither


@triton.jit
def finish(
    X,
    TARGETS,
    PLACE,
    LSE_Y,
    PART,
    ARG,
    FLOATS,
    TOP_ID,
    TARGET_LOGPROB,
    STATUS,
    N,
    parts,
    stride_x,
    n_targets,
    ROWS: tl.constexpr,
    MOMENTS: tl.constexpr,
    KL: tl.constexpr,
):
    """FLOATS [8, N]: lse, entropy, kl, top-1 logit, top-1 probability, margin, mean, std."""
    row = tl.program_id(0).to(tl.int64) * ROWS + tl.arange(0, ROWS)
    present = row < N
    swept = Swept(PART + row * parts * FIELDS, ARG + row * parts, parts, present)
    largest = _largest(swept, ROWS)
    d = _distribution(swept, largest, ROWS)

    tl.store(FLOATS + row, d.lse, mask=present)
    entropy = tl.where(d.defined, d.log_s - d.t / d.s, float("nan"))
    tl.store(FLOATS + N + row, entropy, mask=present)

    kl = tl.full((ROWS,), float("nan"), tl.float32)
    if KL:
        place = tl.load(PLACE + row, mask=present, other=0)
        lse_y = tl.load(LSE_Y + place, mask=present, other=float("nan"))
        kl = _kl(swept, d, lse_y, ROWS)
    tl.store(FLOATS + 2 * N + row, kl, mask=present)

    # Of a row that has no candidate the logit is -inf, and there is no id.
    none = largest.best <= FLOOR
    top_logit = tl.where(none, -INFINITY, largest.best)
    top_logit = tl.where(d.defined, top_logit, tl.where(d.empty, -INFINITY, float("nan")))
    tl.store(FLOATS + 3 * N + row, top_logit, mask=present)
    probability = tl.exp2(tl.fma(largest.best, LOG2E, -d.top)) / d.s
    tl.store(FLOATS + 4 * N + row, tl.where(d.defined, probability, float("nan")), mask=present)
    top_id = tl.where(none | (d.defined == 0), -1, largest.best_id)
    tl.store(TOP_ID + row, top_id.to(tl.int64), mask=present)

    margin = tl.where(largest.second <= FLOOR, INFINITY, largest.peak - largest.second)
    tl.store(FLOATS + 5 * N + row, tl.where(d.defined, margin, float("nan")), mask=present)

    mean = tl.full((ROWS,), float("nan"), tl.float32)
    std = mean
    if MOMENTS:
        mean, std = _moments(swept, ROWS)
    tl.store(FLOATS + 6 * N + row, tl.where(d.defined, mean, float("nan")), mask=present)
    tl.store(FLOATS + 7 * N + row, tl.where(d.defined, std, float("nan")), mask=present)

    status = tl.where(d.broken, NOT_FINITE, tl.where(d.empty, EMPTY, 0))
    tl.store(STATUS + row, status.to(tl.uint8), mask=present)

    for k in range(0, n_targets):
        token = tl.load(TARGETS + row * n_targets + k, mask=present, other=-1)
        real = present & (token >= 0)
        x = tl.load(X + row * stride_x + token, mask=real, other=0.0).to(tl.float32)
        logprob = tl.where((token >= 0) & d.defined, _logprob(x, d), float("nan"))
        tl.store(TARGET_LOGPROB + row * n_targets + k, logprob, mask=present)


@triton.jit
def _field(swept, part, field: tl.constexpr):
    return tl.load(swept.PART + part * FIELDS + field, mask=swept.present, other=0.0)


@triton.jit
def _largest(swept, ROWS: tl.constexpr):
    peak = tl.full((ROWS,), FLOOR, tl.float32)
    second = peak
    best = peak
    best_id = tl.full((ROWS,), NOWHERE, tl.int32)
    top = peak * LOG2E
    for part in range(0, swept.parts):
        top = tl.maximum(top, _field(swept, part, SCALED_PEAK))
        other = _field(swept, part, PEAK)
        second = tl.maximum(second, _field(swept, part, SECOND))
        second = tl.maximum(second, tl.minimum(peak, other))
        peak = tl.maximum(peak, other)
        candidate = _field(swept, part, BEST)
        candidate_id = tl.load(swept.ARG + part, mask=swept.present, other=0)
        # Parts come in order, so the first of equals stays.
        best_id = tl.where(candidate > best, candidate_id, best_id)
        best = tl.maximum(best, candidate)
    return Largest(peak, second, best, best_id, top)


@triton.jit
def _distribution(swept, largest, ROWS: tl.constexpr):
    top = largest.top
    s = tl.zeros((ROWS,), tl.float32)
    t = s
    for part in range(0, swept.parts):
        d = _field(swept, part, SCALED_PEAK) - top
        scale = tl.exp2(d)
        part_s = _field(swept, part, SUM_S)
        s = tl.fma(scale, part_s, s)
        t = tl.fma(scale, tl.fma(d, part_s, _field(swept, part, SUM_T)), t)
    log_s = tl.log2(s)
    broken = (s != s) | (largest.peak >= CEILING)
    empty = (largest.peak <= FLOOR) & (s == s)
    lse = tl.where(empty, -INFINITY, tl.where(broken, float("nan"), (top + log_s) * LN2))
    defined = (broken == 0) & (empty == 0)
    return Distribution(top, s, t, log_s, lse, broken, empty, defined)


@triton.jit
def _logprob(x, d):
    """log p in nats. Not x - lse: that would carry the rounding of the offset into the
    difference."""
    return tl.where(x <= FLOOR, -INFINITY, (tl.fma(x, LOG2E, -d.top) - d.log_s) * LN2)


@triton.jit
def _kl(swept, d, lse_y, ROWS: tl.constexpr):
    """KL(this || step before) in bits: infinite where that forbids what this allows, NaN where
    either is undefined."""
    sum_xy = tl.zeros((ROWS,), tl.float32)
    hole = tl.full((ROWS,), FLOOR, tl.float32)
    for part in range(0, swept.parts):
        scale = tl.exp2(_field(swept, part, SCALED_PEAK) - d.top)
        sum_xy += scale * _field(swept, part, SUM_XY)
        hole = tl.maximum(hole, _field(swept, part, HOLE))
    nats = sum_xy / d.s - (d.lse - lse_y)
    p_alone = tl.fma(hole, LOG2E, -d.top) - d.log_s > SMALLEST
    comparable = d.defined & (tl.abs(lse_y) < CEILING)
    return tl.where(comparable, tl.where(p_alone, INFINITY, nats * LOG2E), float("nan"))


@triton.jit
def _moments(swept, ROWS: tl.constexpr):
    """Mean and standard deviation over finite logits."""
    count = tl.zeros((ROWS,), tl.float32)
    mean = count
    spread = count
    for part in range(0, swept.parts):
        n = _field(swept, part, COUNTED)
        sum_d = _field(swept, part, SUM_D)
        d = sum_d / tl.maximum(n, 1.0)
        # sum (x - centre - d)^2, whatever d: of n d^2 the 2 ulp of div.full would be left, here
        # their square is.
        square = tl.fma(d, tl.fma(n, d, -2.0 * sum_d), _field(swept, part, SUM_DD))
        apart = _field(swept, part, CENTRE) + d - mean
        total = count + n
        share = n / tl.maximum(total, 1.0)
        spread += square + apart * apart * count * share
        mean += apart * share
        count = total
    # Rounding may leave -0.0 of a constant row.
    std = tl.sqrt(tl.maximum(spread, 0.0) / tl.maximum(count, 1.0))
    return mean, std
