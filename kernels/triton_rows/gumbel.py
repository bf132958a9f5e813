"""Gumbel-max sampling in one pass over each row of logits (Triton), with the noise of
`gumbel.token_noise`.

The counter words and the order of Philox's four words are those of the CPU path, so both propose
the same token except where two keys lie closer together than the arithmetic resolves: float32 by
default, float64 with EXACT.
"""

from __future__ import annotations

import torch
import triton
import triton.language as tl
from torch import Tensor
from triton.language.random import philox_impl

from .lanes import LN2, NOWHERE

WORDS = tl.constexpr(32768)  # tokens that share a word of a Philox call's four


@triton.jit
def _exponential(word, EXACT: tl.constexpr):
    """E = -log(1 - u) with u = (word + 1/2) / 2^32; near 0, the end that wins, by its series."""
    if EXACT:
        u = (word.to(tl.float64) + 0.5) * 2.3283064365386963e-10
        series = u * (
            1.0
            + u
            * (0.5 + u * (1.0 / 3.0 + u * (0.25 + u * (0.2 + u * (1.0 / 6.0 + u * (1.0 / 7.0))))))
        )
        e = tl.where(u < 0.004, series, -tl.log(1.0 - u))
    else:
        u = (word.to(tl.float32) + 0.5) * 2.3283064365386963e-10
        series = u * (1.0 + u * (0.5 + u * (1.0 / 3.0 + u * 0.25)))
        # 1 - u from the integer: the float's own subtraction has no digits left where u is near 1.
        rest = ((word ^ 0xFFFFFFFF).to(tl.float32) + 0.5) * 2.3283064365386963e-10
        e = tl.where(u < 0.0078125, series, -tl.log2(rest) * LN2)
    return e


@triton.jit
def _compare(
    X, token, inside, V, candidates, excluded, word, best, winner, temperature, EXACT: tl.constexpr
):
    x = tl.load(X + token, mask=inside & (token < V), other=float("-inf")).to(
        tl.float64 if EXACT else tl.float32
    )
    wanted = inside & (token < candidates) & (token != excluded)
    if EXACT:
        key = x - temperature * tl.log(_exponential(word, EXACT))
    else:
        key = x - temperature * tl.log2(_exponential(word, EXACT)) * LN2
    better = wanted & ((key > best) | ((key == best) & (token < winner)))
    return tl.where(better, key, best), tl.where(better, token, winner)


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
    row = tl.program_id(0).to(tl.int64)
    part = tl.program_id(1)
    X += row * stride_x
    lane = tl.arange(0, LANES)
    problem = tl.load(COUNTER + row * 3).to(tl.uint32)
    position = tl.load(COUNTER + row * 3 + 1).to(tl.uint32)
    step = tl.load(COUNTER + row * 3 + 2).to(tl.uint32)
    temperature = tl.load(TEMPERATURE).to(tl.float64 if EXACT else tl.float32)
    zero = tl.zeros((LANES,), tl.uint32)
    k0 = seed_low.to(tl.uint32, bitcast=True)
    k1 = seed_high.to(tl.uint32, bitcast=True)
    best = tl.full((LANES,), float("-inf"), tl.float64 if EXACT else tl.float32)
    winner = tl.full((LANES,), NOWHERE, tl.int32)
    for block in range(0, tl.cdiv(candidates, 4 * WORDS)):
        base = block * 4 * WORDS
        end = tl.minimum(part * per_part + per_part, tl.minimum(WORDS, candidates - base))
        for start in range(part * per_part, end, LANES):
            at = start + lane
            c0 = (at + block * WORDS).to(tl.uint32)
            w0, w1, w2, w3 = philox_impl(c0, zero + position, zero + step, zero + problem, k0, k1)
            t = base + at
            inside = at < WORDS
            best, winner = _compare(
                X, t, inside, V, candidates, excluded, w0, best, winner, temperature, EXACT
            )
            t += WORDS
            best, winner = _compare(
                X, t, inside, V, candidates, excluded, w1, best, winner, temperature, EXACT
            )
            t += WORDS
            best, winner = _compare(
                X, t, inside, V, candidates, excluded, w2, best, winner, temperature, EXACT
            )
            t += WORDS
            best, winner = _compare(
                X, t, inside, V, candidates, excluded, w3, best, winner, temperature, EXACT
            )
    top = tl.max(best, axis=0)
    token = tl.min(tl.where(best == top, winner, NOWHERE), axis=0)
    parts = tl.num_programs(1)
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
    width = vocabulary if n_candidates is None else min(n_candidates, vocabulary)
    parts = 1 if n >= 512 else 8
    per_part = triton.cdiv(triton.cdiv(WORDS.value, parts), lanes) * lanes
    parts = triton.cdiv(WORDS.value, per_part)
    best = torch.empty(
        n, parts, dtype=torch.float64 if exact else torch.float32, device=logits.device
    )
    arg = torch.empty(n, parts, dtype=torch.int32, device=logits.device)
    if n:
        heat = torch.full((1,), temperature, dtype=torch.float64, device=logits.device)
        low = seed & 0xFFFFFFFF
        high = (seed >> 32) & 0xFFFFFFFF
        gumbel_sweep[(n, parts)](
            logits,
            counter.contiguous(),
            best,
            arg,
            logits.stride(0),
            vocabulary,
            width,
            -1 if exclude_id is None else exclude_id,
            heat,
            low - (low >> 31 << 32),
            high - (high >> 31 << 32),
            per_part,
            LANES=lanes,
            EXACT=exact,
            num_warps=4,
            enable_fp_fusion=True,
        )
    top = best.amax(-1, keepdim=True)
    token = torch.where(best == top, arg, WORDS.value * 65535).amin(-1)
    return torch.where(top.squeeze(-1) == -torch.inf, -1, token.long())
