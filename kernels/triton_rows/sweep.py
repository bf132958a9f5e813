"""One pass over each row of logits: all statistics of a step, with or without the step before
(Triton).

A lane keeps (m, S, T): its running maximum, S = sum 2^z and T = sum z 2^z with z = (x - m) log2 e.
When m grows by d (in bits, negative) they become 2^d S and 2^d (T + d S), so each logit costs one
exponential; shifting inside T keeps the entropy log2 S - T/S a difference of small numbers,
whatever the offset of the logits.

The scaled maximum m log2 e is carried as it was rounded when the terms were computed. A product
next to the difference that reads it would be fused into it, and 2^d would then be off by the
rounding of m log2 e in every tile, even where m did not grow; a multiply-add of 0 rounds once and
cannot be fused again. tests/kernels/test_ptx.py runs it compiled.

A NaN is kept by `floored`, dropped from m by max.f32 and kept in S by ex2 and fma, of which
`finish` asks.

Columns that may never be predicted, `excluded` and those from `candidates` on, are left out of the
main sweep and added after the argmax was taken. Program (row, part) covers `per_part` columns; what
it leaves is merged by `finish`.
"""

from __future__ import annotations

import triton
import triton.language as tl

from .kl import forward_term, precise_term, reverse_term
from .lanes import (
    CEILING,
    FLOOR,
    LOG2E,
    NOWHERE,
    add_moments,
    finite_moments,
    floored,
    load_raw,
    top_two,
)

FIELDS = tl.constexpr(16)
"""Numbers a part leaves: m, m log2 e, second, S, T, candidate maximum, count, sum d, sum dd,
centre, then of the comparison: sum (x - y), hole, reverse, reverse hole, F, G."""


@triton.jit
def _advance(
    X,
    Y,
    start,
    lane,
    low,
    high,
    skipped,
    centre,
    lse_y,
    shift,
    m,
    l,
    m2,
    s,
    t,
    at,
    lo,
    d1,
    d2,
    xy,
    hole,
    rev,
    rhole,
    sf,
    sg,
    LANES: tl.constexpr,
    COUNT: tl.constexpr,
    MOMENTS: tl.constexpr,
    KL: tl.constexpr,
    REVERSE: tl.constexpr,
    PRECISE: tl.constexpr,
    KEEP: tl.constexpr,
):
    # COUNT logits per lane, 4 or 2 without a mask, 1 under the mask that only the ends of a row
    # need.
    MASK: tl.constexpr = COUNT == 1
    o0 = start + lane
    o1 = o0 + LANES
    wanted = (o0 >= low) & (o0 < high) & (o0 != skipped)
    raw0 = load_raw(X, o0, wanted, MASK)
    x0 = floored(raw0)
    if KL:
        y0 = floored(load_raw(Y, o0, wanted, MASK))
    if COUNT >= 2:
        raw1 = load_raw(X, o1, wanted, False)
        x1 = floored(raw1)
        if KL:
            y1 = floored(load_raw(Y, o1, wanted, False))
    if COUNT == 4:
        x2 = floored(load_raw(X, o1 + LANES, wanted, False))
        x3 = floored(load_raw(X, o1 + 2 * LANES, wanted, False))
    m_new, m2 = top_two(x0, m, m2)
    if COUNT >= 2:
        m_new, m2 = top_two(x1, m_new, m2)
    if COUNT == 4:
        m_new, m2 = top_two(x2, m_new, m2)
        m_new, m2 = top_two(x3, m_new, m2)
    at = tl.where(m_new > m, start, at)
    l_new = tl.fma(m_new, LOG2E, 0.0)  # no bare product: see the top of the file
    d = l - l_new
    scale = tl.exp2(d)  # ex2.approx.ftz: exactly 1 at 0, 0 below 2^-126, else within 2 ulp
    z0 = tl.fma(x0, LOG2E, -l_new)
    e0 = tl.exp2(z0)
    t = tl.fma(e0, z0, scale * tl.fma(d, s, t))
    s = tl.fma(scale, s, e0)
    if COUNT >= 2:
        z1 = tl.fma(x1, LOG2E, -l_new)
        e1 = tl.exp2(z1)
        t = tl.fma(e1, z1, t)
        s += e1
    if COUNT == 4:
        z2 = tl.fma(x2, LOG2E, -l_new)
        z3 = tl.fma(x3, LOG2E, -l_new)
        e2 = tl.exp2(z2)
        e3 = tl.exp2(z3)
        t = tl.fma(e3, z3, tl.fma(e2, z2, t))
        s += e2 + e3
    if KL:
        xy, hole = forward_term(x0, y0, e0, scale * xy, hole)
        if REVERSE:
            rev = reverse_term(x0, y0, lse_y, rev)
        if REVERSE or PRECISE:
            rhole = tl.maximum(rhole, tl.where(x0 <= FLOOR, y0, FLOOR))
        if PRECISE:
            sf, sg = precise_term(x0, y0, e0, l_new, shift, scale * sf, scale * sg)
        if COUNT == 2:
            xy, hole = forward_term(x1, y1, e1, xy, hole)
            if REVERSE:
                rev = reverse_term(x1, y1, lse_y, rev)
            if REVERSE or PRECISE:
                rhole = tl.maximum(rhole, tl.where(x1 <= FLOOR, y1, FLOOR))
            if PRECISE:
                sf, sg = precise_term(x1, y1, e1, l_new, shift, sf, sg)
        if KEEP:  # this step's logits take the place of the ones just read
            if MASK:
                tl.store(Y + o0, raw0, mask=wanted)
            else:
                tl.store(Y + o0, raw0)
                tl.store(Y + o1, raw1)
    if MOMENTS:
        lo, d1, d2 = add_moments(x0, wanted, centre, lo, d1, d2, MASK)
        if COUNT >= 2:
            lo, d1, d2 = add_moments(x1, wanted, centre, lo, d1, d2, False)
        if COUNT == 4:
            lo, d1, d2 = add_moments(x2, wanted, centre, lo, d1, d2, False)
            lo, d1, d2 = add_moments(x3, wanted, centre, lo, d1, d2, False)
    return m_new, l_new, m2, s, t, at, lo, d1, d2, xy, hole, rev, rhole, sf, sg


@triton.jit
def sweep(
    X,
    Y,
    PLACE,
    LSE_Y,
    TOP_Y,
    ID_Y,
    PART,
    ARG,
    LANE_MAX,
    stride_x,
    stride_y,
    V,
    candidates,
    excluded,
    per_part,
    LANES: tl.constexpr,
    MOMENTS: tl.constexpr,
    LANE_MAXIMA: tl.constexpr,
    KL: tl.constexpr,
    REVERSE: tl.constexpr,
    PRECISE: tl.constexpr,
    KEEP: tl.constexpr,
):
    """Grid (rows, parts). X [N, V]; Y holds the step before of row i at PLACE[i]; PART [N, parts,
    FIELDS]."""
    row = tl.program_id(0).to(tl.int64)  # int32 would overflow from 16 981 rows of 126 464
    part = tl.program_id(1)
    parts = tl.num_programs(1)
    X += row * stride_x
    lane = tl.arange(0, LANES)
    COUNT: tl.constexpr = 2 if KL else 4
    TILE: tl.constexpr = COUNT * LANES
    start = part * per_part
    end = tl.minimum(start + per_part, candidates)
    lse_y = 0.0
    shift = 0.0
    if KL:
        place = tl.load(PLACE + row)
        Y += place * stride_y
        lse_y = tl.load(LSE_Y + place)
        if PRECISE:
            known = tl.load(ID_Y + place)
            shift = tl.load(X + tl.maximum(known, 0)).to(tl.float32) - tl.load(TOP_Y + place)
            shift = tl.where((known >= 0) & (tl.abs(shift) < CEILING), shift, 0.0)
    centre = 0.0
    if MOMENTS:
        x = tl.load(X + start + lane, mask=start + lane < end, other=float("-inf")).to(tl.float32)
        ordinary = (x > FLOOR) & (x < CEILING)
        number = tl.sum(tl.where(ordinary, 1.0, 0.0), axis=0)
        centre = tl.sum(tl.where(ordinary, x, 0.0), axis=0) / tl.maximum(number, 1.0)
    zero = tl.zeros((LANES,), tl.float32)
    m = zero + FLOOR
    l = m * LOG2E
    m2 = m
    s = zero
    t = zero
    lo = -m
    d1 = zero
    d2 = zero
    xy = zero
    rev = zero
    sf = zero
    sg = zero
    hole = m
    rhole = m
    at = tl.zeros((LANES,), tl.int32)
    # Whole tiles up to the excluded column's, that one under a mask; whole tiles after it, the rest
    # under a mask.
    whole = start + tl.maximum(end - start, 0) // TILE * TILE
    inside = (excluded >= start) & (excluded < end)
    cut = tl.where(inside, start + tl.maximum(excluded - start, 0) // TILE * TILE, whole)
    # fmt: off
    for segment in range(0, 2):
        first = tl.where(segment == 0, start, cut + TILE)
        last = tl.where(segment == 0, cut, whole)
        for tile in range(first, last, TILE):
            m, l, m2, s, t, at, lo, d1, d2, xy, hole, rev, rhole, sf, sg = _advance(
                X, Y, tl.multiple_of(tile, 16), lane, 0, end, -1, centre, lse_y, shift,
                m, l, m2, s, t, at, lo, d1, d2, xy, hole, rev, rhole, sf, sg,
                LANES, COUNT, MOMENTS, KL, REVERSE, PRECISE, KEEP)
        for tile in range(last, tl.where(first <= last, tl.minimum(last + TILE, end), last), LANES):
            m, l, m2, s, t, at, lo, d1, d2, xy, hole, rev, rhole, sf, sg = _advance(
                X, Y, tile, lane, 0, end, excluded, centre, lse_y, shift,
                m, l, m2, s, t, at, lo, d1, d2, xy, hole, rev, rhole, sf, sg,
                LANES, 1, MOMENTS, KL, REVERSE, PRECISE, KEEP)
    best = tl.max(m, axis=0)
    found = tl.full((LANES,), NOWHERE, tl.int32)
    for r in tl.static_range(COUNT):
        o = at + r * LANES + lane
        holds_best = (o < end) & (o != excluded) & (m == best)
        x = tl.load(X + o, mask=holds_best, other=float("-inf")).to(tl.float32)
        found = tl.minimum(found, tl.where(x == best, o, NOWHERE))
    tl.store(ARG + row * parts + part, tl.min(found, axis=0))
    # What is no candidate: first the excluded column alone, then, in the last part, the columns
    # from `candidates` on.
    tail = candidates // LANES * LANES
    n_tail = tl.where((part == parts - 1) & (candidates < V), tl.cdiv(V - tail, LANES), 0)
    for extra in range(tl.where(inside, -1, 0), n_tail):
        alone = extra < 0
        m, l, m2, s, t, at, lo, d1, d2, xy, hole, rev, rhole, sf, sg = _advance(
            X, Y, tl.where(alone, excluded // LANES * LANES, tail + extra * LANES), lane,
            tl.where(alone, excluded, candidates), tl.where(alone, excluded + 1, V), -1,
            centre, lse_y, shift,
            m, l, m2, s, t, at, lo, d1, d2, xy, hole, rev, rhole, sf, sg,
            LANES, 1, MOMENTS, KL, REVERSE, PRECISE, KEEP)
    # fmt: on
    count = (tl.maximum(end - start, 0) + tl.where(part == parts - 1, V - candidates, 0)).to(
        tl.float32
    )
    if MOMENTS:
        if tl.min(lo, axis=0) <= FLOOR:
            n = zero
            d1 = zero
            d2 = zero
            for tile in range(start, end, LANES):
                o = tile + lane
                n, d1, d2 = finite_moments(X, o, o < end, centre, n, d1, d2)
            for tile in range(
                candidates, candidates + tl.where(part == parts - 1, V - candidates, 0), LANES
            ):
                o = tile + lane
                n, d1, d2 = finite_moments(X, o, o < V, centre, n, d1, d2)
            count = tl.sum(n, axis=0)
    if LANE_MAXIMA:
        tl.store(LANE_MAX + (row * parts + part) * LANES + lane, m)
    peak = tl.max(m, axis=0)
    top = tl.max(l, axis=0)  # rounded as in the sweep
    d = l - top
    scale = tl.exp2(d)
    winners = m == peak
    second = tl.max(tl.where(winners, m2, m), axis=0)
    second = tl.where(tl.sum(tl.where(winners, 1, 0), axis=0) > 1, peak, second)
    PART += (row * parts + part) * FIELDS
    tl.store(PART + 0, peak)
    tl.store(PART + 1, top)
    tl.store(PART + 2, second)
    tl.store(PART + 3, tl.sum(scale * s, axis=0))
    tl.store(PART + 4, tl.sum(scale * tl.fma(d, s, t), axis=0))
    tl.store(PART + 5, best)
    if MOMENTS:
        tl.store(PART + 6, count)
        tl.store(PART + 7, tl.sum(d1, axis=0))
        tl.store(PART + 8, tl.sum(d2, axis=0))
        tl.store(PART + 9, centre)
    if KL:
        tl.store(PART + 10, tl.sum(scale * xy, axis=0))
        tl.store(PART + 11, tl.max(hole, axis=0))
        if REVERSE:
            tl.store(PART + 12, tl.sum(rev, axis=0))
        if REVERSE or PRECISE:
            tl.store(PART + 13, tl.max(rhole, axis=0))
        if PRECISE:
            tl.store(PART + 14, tl.sum(scale * sf, axis=0))
            tl.store(PART + 15, tl.sum(scale * sg, axis=0))
