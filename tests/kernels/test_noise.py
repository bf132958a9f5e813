"""The counter-based noise: published test vectors, an independent twin, and the distribution it
must give."""

from __future__ import annotations

import math

import pytest
import torch

from diffengine.kernels.noise import gumbel_argmax, philox, position_noise, token_noise, uniform

# Random123's known answers for philox4x32-10: counter, key, words.
KNOWN = [
    ((0, 0, 0, 0), 0, (0x6627E8D5, 0xE169C58D, 0xBC57AC4C, 0x9B00DBD8)),
    ((0xFFFFFFFF,) * 4, 0xFFFFFFFFFFFFFFFF, (0x408F276D, 0x41C83B0E, 0xA20BC7C6, 0x6D5451FD)),
    (
        (0x243F6A88, 0x85A308D3, 0x13198A2E, 0x03707344),
        0x299F31D0A4093822,
        (0xD16CFE09, 0x94FDCCEB, 0x5001E420, 0x24126EA1),
    ),
]


@pytest.mark.parametrize(("counter", "key", "words"), KNOWN)
def test_philox_gives_the_published_words(
    counter: tuple[int, ...], key: int, words: tuple[int, ...]
) -> None:
    c0, c1, c2, c3 = (torch.tensor([c]) for c in counter)
    assert tuple(int(w) for w in philox((c0, c1, c2, c3), key=key)) == words


def slow_exponential(token: int, position: int, step: int, problem: int, seed: int) -> float:
    """Exp(1) noise of one token, in Python integers."""
    c, k = (
        [token % 32768 + 32768 * (token // 131072), position, step, problem],
        [seed & 0xFFFFFFFF, seed >> 32],
    )
    for _ in range(10):
        a, b = 0xD2511F53 * c[0], 0xCD9E8D57 * c[2]
        c = [(b >> 32) ^ c[1] ^ k[0], b & 0xFFFFFFFF, (a >> 32) ^ c[3] ^ k[1], a & 0xFFFFFFFF]
        k = [(k[0] + 0x9E3779B9) & 0xFFFFFFFF, (k[1] + 0xBB67AE85) & 0xFFFFFFFF]
    return -math.log1p(-(c[token // 32768 % 4] + 0.5) / 2**32)


@pytest.mark.parametrize("vocabulary", [7, 553, 40000, 126464, 152064])
def test_token_noise_is_a_function_of_its_counter(vocabulary: int) -> None:
    seed = 0x123456789ABCDEF
    counter = torch.tensor([[4000000000, 17, 3], [5, 0, 127]])
    noise = token_noise(counter, vocabulary=vocabulary, seed=seed)
    assert noise.shape == (2, vocabulary)
    for row, (problem, position, step) in enumerate(counter.tolist()):
        for token in {
            0,
            3,
            vocabulary // 2,
            vocabulary - 1,
            min(32768, vocabulary - 1),
            min(131072, vocabulary - 1),
        }:
            assert noise[row, token].item() == pytest.approx(
                slow_exponential(token, position, step, problem, seed), rel=1e-12
            )


def test_draws_follow_the_softmax() -> None:
    logits = torch.tensor([2.0, 1.0, 0.0, -1.0, -30.0])
    n, temperature = 20000, 0.8
    counter = torch.stack(
        [torch.arange(n), torch.zeros(n, dtype=torch.int64), torch.zeros(n, dtype=torch.int64)], 1
    )
    drawn = gumbel_argmax(logits.expand(n, 5), counter, temperature=temperature, seed=9)
    expected = (logits / temperature).softmax(-1)[:4] * n
    observed = torch.bincount(drawn, minlength=5).float()[:4]
    chi_square = ((observed - expected) ** 2 / expected).sum().item()
    assert chi_square < 16.27  # 3 degrees of freedom, p = .001
    assert observed.sum() == n


def test_noise_does_not_depend_on_the_company() -> None:
    counter = torch.randint(0, 2**31, (6, 3))
    logits = torch.randn(6, 553)
    together = gumbel_argmax(logits, counter, temperature=1.0, seed=1)
    order = torch.randperm(6)
    assert torch.equal(
        gumbel_argmax(logits[order], counter[order], temperature=1.0, seed=1), together[order]
    )
    assert not torch.equal(gumbel_argmax(logits, counter, temperature=1.0, seed=2), together)


def test_position_noise_is_uniform_and_apart_from_token_noise() -> None:
    n = 20000
    counter = torch.stack([torch.full((n,), 7), torch.arange(n), torch.full((n,), 2)], 1)
    noise = position_noise(counter, seed=3)
    assert 0 < noise.min() and noise.max() < 1
    ordered = noise.sort().values
    gap = (ordered - torch.arange(n) / n).abs().max().item()
    assert gap < 1.95 / math.sqrt(n)  # Kolmogorov-Smirnov, p = .001
    assert uniform(torch.tensor([0, 2**32 - 1])).tolist() == [2**-33, 1 - 2**-33]
