"""Noise that depends on (seed, problem, step, position, token) and on nothing else, and Gumbel-max
sampling with it.

Philox4x32-10 gives random words as a pure function of key and counter (Salmon et al. 2011,
"Parallel random numbers: as easy as 1, 2, 3"): nothing is drawn in order and nothing is remembered,
so a value depends on what it is for and not on batch mates, device or restarts. Words are uint32
held in int64.

argmax_v x_v + T g_v with g = -log E, E ~ Exp(1), is an exact draw from softmax(x / T); it is the
log form of LLaDA's exp(x) / (-log U)^T. One Philox call serves four tokens: counter (token mod
32768, position, step, problem), word token // 32768, which covers vocabularies up to 131 072;
larger ones use a second counter block.
"""

from __future__ import annotations

import torch
from torch import Tensor

from .distribution import widen
from .reference import BLOCK, candidates_only

MASK32 = 0xFFFFFFFF
MULTIPLIERS = (0xD2511F53, 0xCD9E8D57)
WEYL = (0x9E3779B9, 0xBB67AE85)
ROUNDS = 10
LANE = 32768
SCORE_DOMAIN = 0x8000_0000
"""Counter words at or above this never name a token: this one is the noise of `random` remasking.
"""
ORDER_DOMAIN = 0x8000_0001
"""The noise by which Dream's sampler orders or picks positions, apart from that of the tokens."""
REMASK_DOMAIN = 0x8000_0002
"""The noise by which an intervention draws the positions that it masks."""


def philox(
    counter: tuple[Tensor, Tensor, Tensor, Tensor], *, key: int
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Four random words for each element of the broadcast counter words (int64 tensors with values
    below 2^32)."""
    c0, c1, c2, c3 = counter
    k0 = key & MASK32
    k1 = (key >> 32) & MASK32
    for _ in range(ROUNDS):
        high0, low0 = _multiply(c0, MULTIPLIERS[0])
        high1, low1 = _multiply(c2, MULTIPLIERS[1])
        c0 = high1 ^ c1 ^ k0
        c1 = low1
        c2 = high0 ^ c3 ^ k1
        c3 = low0
        k0 = (k0 + WEYL[0]) & MASK32
        k1 = (k1 + WEYL[1]) & MASK32
    return c0, c1, c2, c3


def _multiply(word: Tensor, by: int) -> tuple[Tensor, Tensor]:
    # A 32 x 32 product does not fit int64 with its sign, so it is done in 16-bit halves of the
    # multiplier.
    low = word * (by & 0xFFFF)
    high = word * (by >> 16)
    middle = (low >> 16) + (high & 0xFFFF)
    upper_word = (high >> 16) + (middle >> 16)
    lower_word = ((middle & 0xFFFF) << 16) | (low & 0xFFFF)
    return upper_word, lower_word


def exponential(words: Tensor) -> Tensor:
    """Exp(1) variates (float64) from uint32 words: u = (word + 1/2) / 2^32, E = -log1p(-u).

    u -> 0 is the end that wins an argmax of x - T log E, and log1p keeps every digit there.
    """
    u = uniform(words)
    return -torch.log1p(-u)


def uniform(words: Tensor) -> Tensor:
    """Uniform variates in (0, 1), float64, from uint32 words."""
    return (words.double() + 0.5) * 2.0**-32


def token_noise(counter: Tensor, *, vocabulary: int, seed: int) -> Tensor:
    """Exp(1) noise [N, V] (float64) for rows with counters [N, 3] (problem key, position, step)."""
    problem, position, step = counter[:, :, None].unbind(1)
    parts: list[Tensor] = []
    for first in range(0, vocabulary, 4 * LANE):
        tokens = vocabulary - first
        lane = torch.arange(min(tokens, LANE), device=counter.device)
        lane = lane[None, :] + first // 4
        for word in philox((lane, position, step, problem), key=seed):
            parts.append(word[:, : max(0, tokens)])
            tokens -= LANE
    words = torch.cat(parts, dim=1)
    return exponential(words)


def gumbel_argmax(
    logits: Tensor,
    counter: Tensor,
    *,
    temperature: float,
    seed: int,
    exclude_id: int | None = None,
    n_candidates: int | None = None,
    exact: bool = False,
) -> Tensor:
    """One draw from softmax(logits / temperature) over each row's candidates [N], with noise
    counted by `counter`.

    Here the keys are float64 as in the reference, `exact` or not; on a GPU they are float32 unless
    `exact`, and may differ where two keys nearly tie.
    """
    vocabulary = logits.shape[-1]
    rows = max(1, BLOCK // vocabulary)
    drawn = []
    for start in range(0, max(len(logits), 1), rows):
        block = slice(start, start + rows)
        x = widen(logits[block])
        allowed = candidates_only(x, exclude_id=exclude_id, n_candidates=n_candidates)
        noise = token_noise(counter[block], vocabulary=vocabulary, seed=seed)
        drawn.append((allowed.double() - temperature * noise.log()).argmax(-1))
    return torch.cat(drawn)


def position_noise(counter: Tensor, *, seed: int, domain: int = SCORE_DOMAIN) -> Tensor:
    """Uniform (0, 1) noise [N], one value for each position and step: in `SCORE_DOMAIN` the
    confidence of `random` remasking."""
    problem, position, step = counter.unbind(1)
    first = torch.full_like(problem, domain)
    words = philox((first, position, step, problem), key=seed)
    return uniform(words[0])
