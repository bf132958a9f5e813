"""The Triton sampler: the CPU path's words, its tokens, and a tail that float32 must not lose."""

from __future__ import annotations

import math

import pytest
import torch

from diffengine.kernels import noise as gumbel
from diffengine.kernels.reference import candidates_only
from diffengine.kernels.triton_rows.gumbel import gumbel_argmax

pytestmark = pytest.mark.usefixtures("poisoned")
SEED = 0xF23456789ABCDEF


def counters(n: int) -> torch.Tensor:
    return torch.tensor([[4000000000 + i, 17 * i, 3] for i in range(n)], dtype=torch.int64)


@pytest.mark.parametrize("exact", [False, True])
@pytest.mark.parametrize("vocabulary", [1, 7, 5003, 126464, 152064])
def test_the_same_tokens_as_on_the_cpu(device: torch.device, vocabulary: int, exact: bool) -> None:
    x = 3 * torch.randn(4, vocabulary, generator=torch.Generator().manual_seed(vocabulary))
    options = {"exclude_id": 3, "n_candidates": vocabulary - 2} if vocabulary > 3 else {}
    counter = counters(4)
    allowed = candidates_only(x, **({"exclude_id": None, "n_candidates": None} | options))
    keys = (
        allowed.double() - 0.7 * gumbel.token_noise(counter, vocabulary=vocabulary, seed=SEED).log()
    )
    best = keys.topk(min(2, vocabulary), -1).values
    clear = (
        best[:, 0] - best[:, -1] > (1e-12 if exact else 1e-5)
        if vocabulary > 1
        else torch.ones(4).bool()
    )
    drawn = gumbel_argmax(
        x.to(device), counter.to(device), temperature=0.7, seed=SEED, exact=exact, lanes=16384 if device.type == "cpu"
        else 128, **options,
    ).cpu()  # fmt: skip
    assert clear.sum() >= 3
    assert torch.equal(drawn[clear], keys.argmax(-1)[clear])


def test_every_word_reaches_its_token(device: torch.device) -> None:
    """At a temperature that drowns the logits the largest noise wins, wherever in the four words it
    lies."""
    vocabulary, counter = 140000, counters(6)
    x = torch.zeros(6, vocabulary)
    noise = gumbel.token_noise(counter, vocabulary=vocabulary, seed=5)
    drawn = gumbel_argmax(x.to(device), counter.to(device), temperature=1.0, seed=5, exact=True, lanes=16384
                          if device.type == "cpu" else 128).cpu()  # fmt: skip
    assert torch.equal(drawn, noise.argmin(-1))


def test_draws_do_not_depend_on_the_company(device: torch.device) -> None:
    x, counter = torch.randn(5, 900).to(device), counters(5).to(device)
    together = gumbel_argmax(x, counter, temperature=1.0, seed=1, lanes=1024)
    order = torch.tensor([4, 2, 0, 1, 3], device=device)
    assert torch.equal(
        gumbel_argmax(x[order], counter[order], temperature=1.0, seed=1, lanes=1024),
        together[order],
    )
    assert gumbel_argmax(x[:0], counter[:0], temperature=1.0, seed=1).shape == (0,)


def test_the_tail_is_drawn_as_often_as_it_should(device: torch.device) -> None:
    """A token 10 nats above 5000 others: 24-bit noise would still do, so look at the noise itself
    where it wins."""
    n = 60
    x = torch.zeros(n, 5000)
    x[:, 0] = 8.0
    counter = torch.stack(
        [torch.arange(n), torch.zeros(n, dtype=torch.int64), torch.ones(n, dtype=torch.int64)], 1
    )
    drawn = gumbel_argmax(x.to(device), counter.to(device), temperature=1.0, seed=2, lanes=16384
                          if device.type == "cpu" else 128).cpu()  # fmt: skip
    leader = math.exp(8) / (math.exp(8) + 4999)
    expected, spread = n * leader, math.sqrt(n * leader * (1 - leader))
    assert abs(int((drawn == 0).sum()) - expected) < 4 * spread


def test_a_row_without_candidates_gives_none(device: torch.device) -> None:
    x = torch.full((2, 300), -math.inf, device=device)
    assert gumbel_argmax(
        x, counters(2).to(device), temperature=1.0, seed=0, lanes=1024
    ).tolist() == [-1, -1]


def test_without_heat_the_first_of_the_largest_candidates_is_drawn(device: torch.device) -> None:
    """Equal keys: in one lane (33068 = 300 + 32768), in two lanes, and in two parts of a word."""
    x = torch.zeros(4, 40000)
    ties = ([300, 33068], [300, 301, 5000], [9000, 32768, 39990], [17, 600])
    for row, ids in enumerate(ties):
        x[row, ids] = 4.0
    x[:, 17] = 9.0  # never to be drawn
    options = {"temperature": 0.0, "seed": 1, "exclude_id": 17, "n_candidates": 39995}
    expected = [300, 300, 9000, 600]
    assert gumbel.gumbel_argmax(x, counters(4), **options).tolist() == expected  # type: ignore[arg-type]
    for exact in (False, True):
        drawn = gumbel_argmax(
            x.to(device), counters(4).to(device), lanes=4096, exact=exact, **options
        )  # type: ignore[arg-type]
        assert drawn.tolist() == expected


@pytest.mark.parametrize("exact", [False, True])
def test_the_largest_word_is_noise_too(device: torch.device, exact: bool) -> None:
    """Where u is within float32's rounding of 1 a token can still be drawn; here the word is 2^32 -
    20."""
    rare = torch.tensor([[46296814, 0, 0]])
    assert gumbel.token_noise(rare, vocabulary=1, seed=0).item() == pytest.approx(
        -math.log(19.5 / 2**32)
    )
    x = torch.zeros(1, 1, device=device)
    assert gumbel_argmax(
        x, rare.to(device), temperature=1.0, seed=0, exact=exact, lanes=1024
    ).tolist() == [0]


@pytest.mark.parametrize("exact", [False, True])
def test_noise_has_32_bits(device: torch.device, exact: bool) -> None:
    """Token 0's word is 121: with 24 bits of it the noise would be 5 nats off, and the tail would
    never win."""
    rare = torch.tensor([[5296325, 0, 0]])
    noise = gumbel.token_noise(rare, vocabulary=2, seed=0)[0]
    assert noise[0].item() == pytest.approx(121.5 / 2**32, rel=1e-6)
    level = (noise[1].log() - noise[0].log()).item()
    for above, winner in ((-0.01, 0), (0.01, 1)):
        x = torch.tensor([[0.0, level + above]])
        drawn = gumbel_argmax(
            x.to(device), rare.to(device), temperature=1.0, seed=0, exact=exact, lanes=1024
        )
        assert drawn.tolist() == [winner]
