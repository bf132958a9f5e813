"""Philox4x32-10, the counter-based generator: random words as a pure function of (key, counter).

Nothing is drawn in order and nothing is remembered, so a value depends on what it is for and not on
batch mates, device or restarts. Salmon et al. 2011, "Parallel random numbers: as easy as 1, 2, 3".
Words are uint32 held in int64.
"""

from __future__ import annotations

import torch
from torch import Tensor

MASK32 = 0xFFFFFFFF
MULTIPLIERS = (0xD2511F53, 0xCD9E8D57)
WEYL = (0x9E3779B9, 0xBB67AE85)
ROUNDS = 10


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
    return (high >> 16) + (middle >> 16), ((middle & 0xFFFF) << 16) | (low & 0xFFFF)


def exponential(words: Tensor) -> Tensor:
    """Exp(1) variates (float64) from uint32 words: u = (word + 1/2) / 2^32, E = -log1p(-u).

    u -> 0 is the end that wins an argmax of x - T log E, and log1p keeps every digit there.
    """
    u = (words.double() + 0.5) * 2.0**-32
    return -torch.log1p(-u)


def uniform(words: Tensor) -> Tensor:
    """Uniform variates in (0, 1), float64, from uint32 words."""
    return (words.double() + 0.5) * 2.0**-32
