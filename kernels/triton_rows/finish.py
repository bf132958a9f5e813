"""Merge the parts of each row that `sweep` left and write the statistics (Triton); one lane per
row.

Merging (m, S, T) of two parts is the same formula as merging two lanes; count, mean and spread
merge as in Chan, Golub and LeVeque 1979. The order is fixed, there are no atomics, so a call
repeated gives the same bits.
"""

from __future__ import annotations

import triton
import triton.language as tl

from .lanes import CEILING, FLOOR, LN2, LOG2E, NOWHERE
from .sweep import FIELDS

NOT_FINITE = tl.constexpr(1)
EMPTY = tl.constexpr(2)
PRECISE_BELOW = tl.constexpr(0.1)
"""KL in nats below which the compensated form is the better one."""
SMALLEST = tl.constexpr(-150.0)
"""log2 of what float32 still rounds to a probability above 0. Not asked of 2^x: ex2.approx.ftz
gives 0 below 2^-126."""


@triton.jit
def _rescaled(part, top, fields, field: tl.constexpr, here):
    scale = tl.exp2(tl.load(fields + 1, mask=here, other=0.0) - top)
    return scale * tl.load(fields + field, mask=here, other=0.0)


@triton.jit
def _excess(r):
    """r - log1p(r), by its series where the difference would lose its digits."""
    series = 1.0 / 7.0 - r * 0.125
    series = tl.fma(-r, series, 1.0 / 6.0)
    series = tl.fma(-r, series, 0.2)
    series = tl.fma(-r, series, 0.25)
    series = tl.fma(-r, series, 1.0 / 3.0)
    series = r * r * tl.fma(-r, series, 0.5)
    return tl.where(tl.abs(r) < 0.03125, series, r - tl.log2(1.0 + r) * LN2)


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
    REVERSE: tl.constexpr,
    PRECISE: tl.constexpr,
):
    """FLOATS [9, N]: lse, entropy, kl, reverse kl, top-1 logit, top-1 probability, margin, mean,
    std."""
    row = tl.program_id(0).to(tl.int64) * ROWS + tl.arange(0, ROWS)
    here = row < N
    base = PART + row * parts * FIELDS
    nan = float("nan")
    peak = tl.full((ROWS,), FLOOR, tl.float32)
    second = peak
    best = peak
    top = peak * LOG2E
    first = tl.full((ROWS,), NOWHERE, tl.int32)
    count = tl.zeros((ROWS,), tl.float32)
    mean = count
    spread = count
    for part in range(0, parts):
        fields = base + part * FIELDS
        top = tl.maximum(top, tl.load(fields + 1, mask=here, other=0.0))
        other = tl.load(fields, mask=here, other=0.0)
        second = tl.maximum(
            tl.maximum(second, tl.load(fields + 2, mask=here, other=0.0)), tl.minimum(peak, other)
        )
        peak = tl.maximum(peak, other)
        candidate = tl.load(fields + 5, mask=here, other=0.0)
        found = tl.load(ARG + row * parts + part, mask=here, other=0)
        first = tl.where(
            candidate > best, found, first
        )  # parts come in order, so the first of equals stays
        best = tl.maximum(best, candidate)
        if MOMENTS:
            n = tl.load(fields + 6, mask=here, other=0.0)
            sum_d = tl.load(fields + 7, mask=here, other=0.0)
            d = sum_d / tl.maximum(n, 1.0)
            # sum (x - centre - d)^2, whatever d: of n d^2 the 2 ulp of div.full would be left, here
            # their square is.
            square = tl.fma(
                d, tl.fma(n, d, -2.0 * sum_d), tl.load(fields + 8, mask=here, other=0.0)
            )
            apart = tl.load(fields + 9, mask=here, other=0.0) + d - mean
            total = count + n
            share = n / tl.maximum(total, 1.0)
            spread += square + apart * apart * count * share
            mean += apart * share
            count = total
    s = tl.zeros((ROWS,), tl.float32)
    t = s
    for part in range(0, parts):
        fields = base + part * FIELDS
        d = tl.load(fields + 1, mask=here, other=0.0) - top
        scale = tl.exp2(d)
        sum_e = tl.load(fields + 3, mask=here, other=0.0)
        s = tl.fma(scale, sum_e, s)
        t = tl.fma(scale, tl.fma(d, sum_e, tl.load(fields + 4, mask=here, other=0.0)), t)
    log_s = tl.log2(s)
    broken = (s != s) | (peak >= CEILING)
    empty = (peak <= FLOOR) & (s == s)
    defined = (broken == 0) & (empty == 0)
    lse = tl.where(empty, float("-inf"), tl.where(broken, nan, (top + log_s) * LN2))
    tl.store(FLOATS + row, lse, mask=here)
    tl.store(FLOATS + N + row, tl.where(defined, log_s - t / s, nan), mask=here)
    kl = tl.full((ROWS,), nan, tl.float32)
    reverse = kl
    if KL:
        place = tl.load(PLACE + row, mask=here, other=0)
        lse_y = tl.load(LSE_Y + place, mask=here, other=nan)
        xy = tl.zeros((ROWS,), tl.float32)
        hole = tl.full((ROWS,), FLOOR, tl.float32)
        rhole = hole
        f = xy
        g = xy
        q = xy
        for part in range(0, parts):
            fields = base + part * FIELDS
            xy += _rescaled(part, top, fields, 10, here)
            hole = tl.maximum(hole, tl.load(fields + 11, mask=here, other=0.0))
            if REVERSE:
                q += tl.load(fields + 12, mask=here, other=0.0)
            if REVERSE or PRECISE:
                rhole = tl.maximum(rhole, tl.load(fields + 13, mask=here, other=0.0))
            if PRECISE:
                f += _rescaled(part, top, fields, 14, here)
                g += _rescaled(part, top, fields, 15, here)
        kl = xy / s - (lse - lse_y)
        q_alone = (rhole - lse_y) * LOG2E > SMALLEST  # the step before allows what this one forbids
        if PRECISE:
            compensated = f / s - _excess(g / s)
            kl = tl.where((kl < PRECISE_BELOW) & (q_alone == 0), compensated, kl)
        p_alone = tl.fma(hole, LOG2E, -top) - log_s > SMALLEST
        known = defined & (tl.abs(lse_y) < CEILING)
        kl = tl.where(known, tl.where(p_alone, float("inf"), kl * LOG2E), nan)
        if REVERSE:
            reverse = tl.where(q_alone, float("inf"), (q - (lse_y - lse)) * LOG2E)
            reverse = tl.where(known, reverse, nan)
    tl.store(FLOATS + 2 * N + row, kl, mask=here)
    tl.store(FLOATS + 3 * N + row, reverse, mask=here)
    none = (best <= FLOOR) | (defined == 0)
    top_logit = tl.where(
        defined, tl.where(best <= FLOOR, float("-inf"), best), tl.where(empty, float("-inf"), nan)
    )
    tl.store(FLOATS + 4 * N + row, top_logit, mask=here)
    tl.store(
        FLOATS + 5 * N + row,
        tl.where(defined, tl.exp2(tl.fma(best, LOG2E, -top)) / s, nan),
        mask=here,
    )
    margin = tl.where(second <= FLOOR, float("inf"), peak - second)
    tl.store(FLOATS + 6 * N + row, tl.where(defined, margin, nan), mask=here)
    if MOMENTS:
        tl.store(FLOATS + 7 * N + row, tl.where(defined, mean, nan), mask=here)
        std = tl.sqrt(
            tl.maximum(spread, 0.0) / tl.maximum(count, 1.0)
        )  # rounding may leave -0.0 of a constant row
        tl.store(FLOATS + 8 * N + row, tl.where(defined, std, nan), mask=here)
    else:
        tl.store(FLOATS + 7 * N + row, tl.full((ROWS,), nan, tl.float32), mask=here)
        tl.store(FLOATS + 8 * N + row, tl.full((ROWS,), nan, tl.float32), mask=here)
    tl.store(TOP_ID + row, tl.where(none, -1, first).to(tl.int64), mask=here)
    status = tl.where(broken, NOT_FINITE, tl.where(empty, EMPTY, 0))
    tl.store(STATUS + row, status.to(tl.uint8), mask=here)
    for k in range(0, n_targets):
        token = tl.load(TARGETS + row * n_targets + k, mask=here, other=-1)
        x = tl.load(X + row * stride_x + token, mask=here & (token >= 0), other=0.0).to(tl.float32)
        # Not x - lse: that would carry the rounding of the offset into the difference.
        logprob = tl.where(x <= FLOOR, float("-inf"), (tl.fma(x, LOG2E, -top) - log_s) * LN2)
        logprob = tl.where((token >= 0) & defined, logprob, nan)
        tl.store(TARGET_LOGPROB + row * n_targets + k, logprob, mask=here)
