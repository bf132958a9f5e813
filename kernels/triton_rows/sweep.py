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

from typing import Any, NamedTuple

import triton
import triton.language as tl

from .lanes import (
    CEILING,
    FLOOR,
    LOG2E,
    NOWHERE,
    Compared,
    Lane,
    Moments,
    add_differences,
    add_finite,
    add_logits,
    add_moments,
    all_floored,
    load_raw,
)
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


class Row(NamedTuple):
    """What a program reads: this step's logits, those of the step before, and the moments'
    centre."""

    X: Any
    Y: Any
    centre: Any


class Columns(NamedTuple):
    """Which columns a mask lets through: from `first` on, before `end`, without `skipped`."""

    first: Any
    end: Any
    skipped: Any


class State(NamedTuple):
    """All that the lanes keep."""

    lane: Any
    moments: Any
    compared: Any


class Choices(NamedTuple):
    """What a program is compiled for."""

    LANES: Any
    MOMENTS: Any
    KL: Any
    KEEP: Any


@triton.jit
def sweep(
    X,
    Y,
    PLACE,
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
    LANE_MAXIMA: tl.constexpr,
    MOMENTS: tl.constexpr,
    KL: tl.constexpr,
    KEEP: tl.constexpr,
):
    """Grid (rows, parts). X [N, V]; Y holds the step before of row i at PLACE[i]; PART [N, parts,
    FIELDS], ARG [N, parts], LANE_MAX [N, parts, LANES]."""
    choices: tl.constexpr = Choices(LANES, MOMENTS, KL, KEEP)
    number = tl.program_id(0).to(tl.int64)  # int32 would overflow from 16 981 rows of 126 464
    part = tl.program_id(1)
    parts = tl.num_programs(1)
    start = part * per_part
    end = tl.minimum(start + per_part, candidates)

    X += number * stride_x
    if KL:
        Y += tl.load(PLACE + number) * stride_y
    centre = 0.0
    if MOMENTS:
        centre = _centre(X, start, end, LANES)
    row = Row(X, Y, centre)

    state = _candidates(row, start, end, excluded, _nothing(LANES), choices)
    best = tl.max(state.lane.m, axis=0)
    first = _first_holder(row, state.lane, best, end, excluded, LANES, 2 if KL else 4)
    tl.store(ARG + number * parts + part, first)

    tail = tl.where(part == parts - 1, candidates, V)  # the last part takes the columns after it
    inside = (excluded >= start) & (excluded < end)
    state = _others(row, tl.where(inside, excluded, -1), tail, V, state, choices)
    if LANE_MAXIMA:
        lane = tl.arange(0, LANES)
        tl.store(LANE_MAX + (number * parts + part) * LANES + lane, state.lane.m)

    fields = PART + (number * parts + part) * FIELDS
    tl.store(fields + BEST, best)
    _store_distribution(fields, state.lane)
    if MOMENTS:
        _store_moments(fields, row, state.moments, start, end, tail, V, LANES)
    if KL:
        _store_comparison(fields, state)


@triton.jit
def _centre(X, start, end, LANES: tl.constexpr):
    """The mean of the first tile's finite logits."""
    offsets = start + tl.arange(0, LANES)
    x = tl.load(X + offsets, mask=offsets < end, other=float("-inf")).to(tl.float32)
    ordinary = (x > FLOOR) & (x < CEILING)
    number = tl.sum(tl.where(ordinary, 1.0, 0.0), axis=0)
    return tl.sum(tl.where(ordinary, x, 0.0), axis=0) / tl.maximum(number, 1.0)


@triton.jit
def _nothing(LANES: tl.constexpr):
    """What lanes keep that have seen no logit."""
    zero = tl.zeros((LANES,), tl.float32)
    floor = zero + FLOOR
    tile = tl.zeros((LANES,), tl.int32)
    return State(
        Lane(floor, floor * LOG2E, floor, zero, zero, tile),
        Moments(-floor, zero, zero),
        Compared(zero, floor),
    )


@triton.jit
def _candidates(row, start, end, excluded, state, choices):
    """The state after the candidates of a part: whole tiles up to the excluded column's, that one
    under a mask; whole tiles after it, the rest under a mask."""
    LANES: tl.constexpr = choices.LANES
    COUNT: tl.constexpr = 2 if choices.KL else 4
    TILE: tl.constexpr = COUNT * LANES
    columns = Columns(0, end, excluded)
    whole = start + tl.maximum(end - start, 0) // TILE * TILE
    inside = (excluded >= start) & (excluded < end)
    cut = tl.where(inside, start + tl.maximum(excluded - start, 0) // TILE * TILE, whole)
    for segment in range(0, 2):
        first = tl.where(segment == 0, start, cut + TILE)
        last = tl.where(segment == 0, cut, whole)
        for tile in range(first, last, TILE):
            state = _advance(row, tl.multiple_of(tile, 16), columns, state, choices, COUNT)
        rest = tl.where(first <= last, tl.minimum(last + TILE, end), last)
        for tile in range(last, rest, LANES):
            state = _advance(row, tile, columns, state, choices, 1)
    return state


@triton.jit
def _others(row, excluded, tail, V, state, choices):
    """The state after what is no candidate: the excluded column alone (-1: there is none), then the
    columns from `tail` on."""
    LANES: tl.constexpr = choices.LANES
    tiles_before = tail // LANES * LANES
    n_tail = tl.where(tail < V, tl.cdiv(V - tiles_before, LANES), 0)
    for extra in range(tl.where(excluded >= 0, -1, 0), n_tail):
        alone = extra < 0
        tile = tl.where(alone, excluded // LANES * LANES, tiles_before + extra * LANES)
        columns = Columns(tl.where(alone, excluded, tail), tl.where(alone, excluded + 1, V), -1)
        state = _advance(row, tile, columns, state, choices, 1)
    return state


@triton.jit
def _advance(row, start, columns, state, choices, COUNT: tl.constexpr):
    """The state after COUNT logits more a lane, LANES apart: 4 or 2 without a mask, 1 under that of
    `columns`, which only the ends of a row need."""
    LANES: tl.constexpr = choices.LANES
    offsets = start + tl.arange(0, LANES)
    mask = (offsets >= columns.first) & (offsets < columns.end) & (offsets != columns.skipped)
    raw = _load(row.X, offsets, mask, LANES, COUNT)
    x = all_floored(raw, COUNT)
    if choices.KL:
        y = all_floored(_load(row.Y, offsets, mask, LANES, COUNT), COUNT)

    lane, e, scale = add_logits(state.lane, x, start, COUNT)
    compared = state.compared
    if choices.KL:
        compared = add_differences(compared, x, y, e, scale, COUNT)
    if choices.KEEP:  # this step's logits take the place of the ones just read
        _store(row.Y, raw, offsets, mask, LANES, COUNT)
    moments = state.moments
    if choices.MOMENTS:
        moments = add_moments(moments, x, mask, row.centre, COUNT)
    return State(lane, moments, compared)


@triton.jit
def _load(row, offsets, mask, LANES: tl.constexpr, COUNT: tl.constexpr):
    raw = (load_raw(row, offsets, mask, COUNT == 1),)
    for r in tl.static_range(1, COUNT):
        raw = raw + (load_raw(row, offsets + r * LANES, mask, False),)
    return raw


@triton.jit
def _store(row, raw, offsets, mask, LANES: tl.constexpr, COUNT: tl.constexpr):
    if COUNT == 1:
        tl.store(row + offsets, raw[0], mask=mask)
    else:
        for r in tl.static_range(COUNT):
            tl.store(row + offsets + r * LANES, raw[r])


@triton.jit
def _first_holder(row, lane, best, end, excluded, LANES: tl.constexpr, COUNT: tl.constexpr):
    """The lowest column whose logit is `best`; the tiles in which lanes met it are read again."""
    first = tl.full((LANES,), NOWHERE, tl.int32)
    for r in tl.static_range(COUNT):
        offsets = lane.tile + r * LANES + tl.arange(0, LANES)
        mask = (offsets < end) & (offsets != excluded) & (lane.m == best)
        x = tl.load(row.X + offsets, mask=mask, other=float("-inf")).to(tl.float32)
        first = tl.minimum(first, tl.where(x == best, offsets, NOWHERE))
    return tl.min(first, axis=0)


@triton.jit
def _store_distribution(fields, lane):
    peak = tl.max(lane.m, axis=0)
    top = tl.max(lane.scaled, axis=0)  # rounded as in the sweep
    d = lane.scaled - top
    scale = tl.exp2(d)
    winners = lane.m == peak
    second = tl.max(tl.where(winners, lane.second, lane.m), axis=0)
    second = tl.where(tl.sum(tl.where(winners, 1, 0), axis=0) > 1, peak, second)
    tl.store(fields + PEAK, peak)
    tl.store(fields + SCALED_PEAK, top)
    tl.store(fields + SECOND, second)
    tl.store(fields + SUM_S, tl.sum(scale * lane.s, axis=0))
    tl.store(fields + SUM_T, tl.sum(scale * tl.fma(d, lane.s, lane.t), axis=0))


@triton.jit
def _store_comparison(fields, state):
    scale = tl.exp2(state.lane.scaled - tl.max(state.lane.scaled, axis=0))
    tl.store(fields + SUM_XY, tl.sum(scale * state.compared.sum_xy, axis=0))
    tl.store(fields + HOLE, tl.max(state.compared.hole, axis=0))


@triton.jit
def _store_moments(fields, row, moments, start, end, tail, V, LANES: tl.constexpr):
    """Sums about the centre; where a logit was -inf, the part is read again."""
    count = (tl.maximum(end - start, 0) + V - tail).to(tl.float32)
    sum_d = moments.sum_d
    sum_dd = moments.sum_dd
    if tl.min(moments.lowest, axis=0) <= FLOOR:
        finite = tl.zeros((LANES,), tl.float32)
        sum_d = finite
        sum_dd = finite
        for tile in range(start, end, LANES):
            finite, sum_d, sum_dd = add_finite(row, tile, end, finite, sum_d, sum_dd)
        for tile in range(tail, V, LANES):
            finite, sum_d, sum_dd = add_finite(row, tile, V, finite, sum_d, sum_dd)
        count = tl.sum(finite, axis=0)
    tl.store(fields + COUNTED, count)
    tl.store(fields + SUM_D, tl.sum(sum_d, axis=0))
    tl.store(fields + SUM_DD, tl.sum(sum_dd, axis=0))
    tl.store(fields + CENTRE, row.centre)
