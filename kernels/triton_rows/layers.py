"""Norm, rotation and gated activation in one pass over memory each (Triton); same meaning as
`layers`.

Every value that torch would round on its way to memory is rounded here too, so that a result
differs from `layers` by the order of one sum, by an exponential and by fused multiply-adds alone.
No GPU has run them.
"""

from __future__ import annotations

import torch
import triton
import triton.language as tl
from torch import Tensor

from .lanes import LOG2E

BLOCK = 2048
"""Elements of a program of the gated activation: 16 for each of 128 threads."""
HEADS = 8
"""Heads of one token that a program rotates."""


@triton.jit
def add_rms_norm_rows(
    STATES,
    UPDATE,
    WEIGHT,
    TOTAL,
    OUT,
    D,
    EPS: tl.constexpr,
    ADD: tl.constexpr,
    WIDTH: tl.constexpr,
):
    """Grid (tokens,). WIDTH >= D is a power of two; without ADD nothing is added, nor TOTAL
    written."""
    row = tl.program_id(0).to(tl.int64) * D
    column = tl.arange(0, WIDTH)
    inside = column < D
    total = tl.load(STATES + row + column, mask=inside, other=0.0)
    if ADD:
        update = tl.load(UPDATE + row + column, mask=inside, other=0.0)
        total = (total.to(tl.float32) + update.to(tl.float32)).to(total.dtype)
        tl.store(TOTAL + row + column, total, mask=inside)
    wide = total.to(tl.float32)
    mean = tl.sum(wide * wide, axis=0) / D
    scaled = (wide * tl.rsqrt(mean + EPS)).to(total.dtype)
    weight = tl.load(WEIGHT + column, mask=inside, other=0.0)
    product = weight.to(tl.float32) * scaled.to(tl.float32)
    tl.store(OUT + row + column, product.to(total.dtype), mask=inside)


@triton.jit
def rotate_heads(
    STATES,
    COS,
    SIN,
    OUT,
    heads,
    size,
    GROUP: tl.constexpr,
    HALF: tl.constexpr,
):
    """Grid (tokens, groups of GROUP heads). HALF >= size / 2 is a power of two."""
    token = tl.program_id(0).to(tl.int64)
    head = tl.program_id(1) * GROUP + tl.arange(0, GROUP)
    half = size // 2
    column = tl.arange(0, HALF)
    in_half = column < half
    inside = (head < heads)[:, None] & in_half[None, :]
    offsets = token * heads * size + head[:, None] * size + column[None, :]
    first = tl.load(STATES + offsets, mask=inside, other=0.0).to(tl.float32)
    second = tl.load(STATES + offsets + half, mask=inside, other=0.0).to(tl.float32)

    angles = token * size + column
    cos = tl.load(COS + angles, mask=in_half, other=0.0)
    sin = tl.load(SIN + angles, mask=in_half, other=0.0)
    upper = _turn(first, -second, cos, sin)
    other_cos = tl.load(COS + angles + half, mask=in_half, other=0.0)
    other_sin = tl.load(SIN + angles + half, mask=in_half, other=0.0)
    lower = _turn(second, first, other_cos, other_sin)
    tl.store(OUT + offsets, upper.to(OUT.dtype.element_ty), mask=inside)
    tl.store(OUT + offsets + half, lower.to(OUT.dtype.element_ty), mask=inside)


@triton.jit
def _turn(own, turned, cos, sin):
    # Products have the wider of the two dtypes, as torch promotes them.
    left = (own * cos[None, :].to(tl.float32)).to(cos.dtype)
    right = (turned * sin[None, :].to(tl.float32)).to(cos.dtype)
    return (left.to(tl.float32) + right.to(tl.float32)).to(cos.dtype).to(tl.float32)


@triton.jit
def gate_values(GATE, UP, OUT, number, WIDTH: tl.constexpr):
    """Grid (parts of WIDTH elements,)."""
    offsets = tl.program_id(0).to(tl.int64) * WIDTH + tl.arange(0, WIDTH)
    inside = offsets < number
    gate = tl.load(GATE + offsets, mask=inside, other=0.0)
    wide = gate.to(tl.float32)
    active = (wide / (1.0 + tl.exp2(-wide * LOG2E))).to(gate.dtype)
    up = tl.load(UP + offsets, mask=inside, other=0.0)
    product = active.to(tl.float32) * up.to(tl.float32)
    tl.store(OUT + offsets, product.to(gate.dtype), mask=inside)


def add_rms_norm(
    states: Tensor, update: Tensor | None, weight: Tensor, *, eps: float
) -> tuple[Tensor, Tensor]:
    """See `layers.add_rms_norm`; a row is one program, so D is at most 65 536."""
    tokens, width = states.shape
    states = states.contiguous()
    out = torch.empty_like(states)
    total = states if update is None else torch.empty_like(states)
    if tokens:
        block = triton.next_power_of_2(width)
        add_rms_norm_rows[(tokens,)](
            states,
            states if update is None else update.contiguous(),
            weight,
            total,
            out,
            width,
            EPS=eps,
            ADD=update is not None,
            WIDTH=block,
            num_warps=max(1, min(16, block // 512)),
        )
    return total, out


def rotated(heads: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    """See `layers.rotated`."""
    tokens, number, size = heads.shape
    heads = heads.contiguous()
    out = torch.empty_like(heads)
    if tokens:
        half = triton.next_power_of_2(max(1, size // 2))
        rotate_heads[(tokens, triton.cdiv(number, HEADS))](
            heads,
            cos.contiguous(),
            sin.contiguous(),
            out,
            number,
            size,
            GROUP=HEADS,
            HALF=half,
            num_warps=4,
        )
    return out


def gated(gate: Tensor, up: Tensor) -> Tensor:
    """See `layers.gated`."""
    gate = gate.contiguous()
    out = torch.empty_like(gate)
    number = gate.numel()
    if number:
        gate_values[(triton.cdiv(number, BLOCK),)](
            gate, up.contiguous(), out, number, WIDTH=BLOCK, num_warps=4
        )
    return out
