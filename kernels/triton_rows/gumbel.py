"""Gumbel-max sampling in one pass over each row of logits (Triton), with the noise of
`noise.token_noise`.

The counter words and the order of Philox's four words are those of the CPU path, so both propose
the same token except where two keys lie closer together than the arithmetic resolves: float32 by
default, float64 with EXACT.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
import triton
import triton.language as tl
from torch import Tensor
from triton.language.random import philox_impl

from .lanes import LN2, NOWHERE

WORDS = tl.constexpr(32768)
"""Tokens that share a word of a Philox call's four."""
PER_WORD = tl.constexpr(2.0**-32)


class Tokens(NamedTuple):
    """Which tokens there are, and which of them may be drawn."""

    V: Any
    candidates: Any
    excluded: Any


class Draw(NamedTuple):
    """A lane's largest key x - T log E so far, and its token."""

    key: Any
    token: Any


@triton.jit
def _exponential(word, EXACT: tl.constexpr):
    """E = -log(1 - u) with u = (word + 1/2) / 2^32; near 0, the end that wins, by its series."""
    if EXACT:
        u = (word.to(tl.float64) + 0.5) * PER_WORD
        series = 0.2 + u * (1.0 / 6.0 + u * (1.0 / 7.0))
        series = 0.5 + u * (1.0 / 3.0 + u * (0.25 + u * series))
        e = tl.where(u < 0.004, u * (1.0 + u * series), -tl.log(1.0 - u))
    else:
        u = (word.to(tl.float32) + 0.5) * PER_WORD
        series = u * (1.0 + u * (0.5 + u * (1.0 / 3.0 + u * 0.25)))
        # 1 - u from the integer: the float's own subtraction has no digits left where u is near 1.
        rest = ((word ^ 0xFFFFFFFF).to(tl.float32) + 0.5) * PER_WORD
        e = tl.where(u < 0.0078125, series, -tl.log2(rest) * LN2)
    return e


@triton.jit
def _compare(X, token, inside, tokens, word, draw, temperature, EXACT: tl.constexpr):
    """The draw with one token more a lane; of equal keys the lowest token wins."""
    wide: tl.constexpr = tl.float64 if EXACT else tl.float32
    x = tl.load(X + token, mask=inside & (token < tokens.V), other=float("-inf")).to(wide)
    e = _exponential(word, EXACT)
    if EXACT:
        key = x - temperature * tl.log(e)
    else:
        key = x - temperature * tl.log2(e) * LN2
    allowed = inside & (token < tokens.candidates) & (token != tokens.excluded)
    better = allowed & ((key > draw.key) | ((key == draw.key) & (token < draw.token)))
    return Draw(tl.where(better, key, draw.key), tl.where(better, token, draw.token))


# A seed of 1 would become a constant, without the type that its bits are reinterpreted from.
@triton.jit(do_not_specialize=["seed_low", "seed_high"])
def gumbel_sweep(
    X,
    COUNTER,
    BEST,
    ARG,
    stride_x,
    V,
    candidates,
    excluded,
    TEMPERATURE,
    seed_low,
    seed_high,
    per_part,
    LANES: tl.constexpr,
    EXACT: tl.constexpr,
):
    """Grid (rows, parts of a word). COUNTER [N, 3]; BEST, ARG [N, parts]: the largest key and its
    token."""
    wide: tl.constexpr = tl.float64 if EXACT else tl.float32
    row = tl.program_id(0).to(tl.int64)
    part = tl.program_id(1)
    parts = tl.num_programs(1)
    X += row * stride_x
    tokens = Tokens(V, candidates, excluded)
    temperature = tl.load(TEMPERATURE).to(wide)

    zero = tl.zeros((LANES,), tl.uint32)
    problem = zero + tl.load(COUNTER + row * 3).to(tl.uint32)
    position = zero + tl.load(COUNTER + row * 3 + 1).to(tl.uint32)
    step = zero + tl.load(COUNTER + row * 3 + 2).to(tl.uint32)
    key_low = seed_low.to(tl.uint32, bitcast=True)
    key_high = seed_high.to(tl.uint32, bitcast=True)

    lane = tl.arange(0, LANES)
    draw = Draw(
        tl.full((LANES,), float("-inf"), wide),
        tl.full((LANES,), NOWHERE, tl.int32),
    )
    for block in range(0, tl.cdiv(candidates, 4 * WORDS)):
        base = block * 4 * WORDS
        end = tl.minimum(part * per_part + per_part, tl.minimum(WORDS, candidates - base))
        for start in range(part * per_part, end, LANES):
            offsets = start + lane
            inside = offsets < WORDS
            count = (offsets + block * WORDS).to(tl.uint32)
            words = philox_impl(count, position, step, problem, key_low, key_high)
            for r in tl.static_range(4):
                token = base + offsets + r * WORDS
                draw = _compare(X, token, inside, tokens, words[r], draw, temperature, EXACT)

    top = tl.max(draw.key, axis=0)
    token = tl.min(tl.where(draw.key == top, draw.token, NOWHERE), axis=0)
    tl.store(BEST + row * parts + part, top)
    tl.store(ARG + row * parts + part, token)


def gumbel_argmax(
    logits: Tensor,
    counter: Tensor,
    *,
    temperature: float,
    seed: int,
    exclude_id: int | None = None,
    n_candidates: int | None = None,
    exact: bool = False,
    lanes: int = 128,
) -> Tensor:
    """One draw from softmax(logits / temperature) over the candidates of each row [N]; -1 where all
    are -inf."""
    n, vocabulary = logits.shape
    device = logits.device
    width = vocabulary if n_candidates is None else min(n_candidates, vocabulary)
    parts = 1 if n >= 512 else 8
    per_part = triton.cdiv(triton.cdiv(WORDS.value, parts), lanes) * lanes
    parts = triton.cdiv(WORDS.value, per_part)
    wide = torch.float64 if exact else torch.float32
    best = torch.empty(n, parts, dtype=wide, device=device)
    arg = torch.empty(n, parts, dtype=torch.int32, device=device)
    if n:
        gumbel_sweep[(n, parts)](
            logits,
            counter.contiguous(),
            best,
            arg,
            logits.stride(0),
            vocabulary,
            width,
            -1 if exclude_id is None else exclude_id,
            torch.full((1,), temperature, dtype=torch.float64, device=device),
            _signed(seed),
            _signed(seed >> 32),
            per_part,
            LANES=lanes,
            EXACT=exact,
            num_warps=4,
            enable_fp_fusion=True,
        )
    top = best.amax(-1, keepdim=True)
    token = torch.where(best == top, arg, WORDS.value * 65535).amin(-1)
    return torch.where(top.squeeze(-1) == -torch.inf, -1, token.long())


def _signed(word: int) -> int:
    """The int32 that has the low 32 bits of `word`."""
    low = word & 0xFFFFFFFF
    return low - (low >> 31 << 32)
