"""Temperature, top-p, top-k and the score of what is left: closed forms, a slow twin in float64,
and transformers' own filters, which read the edge otherwise."""

from __future__ import annotations

import math

import pytest
import torch
from transformers import TopKLogitsWarper, TopPLogitsWarper

from diffengine.kernels.head import Head, Rows, Sampling
from diffengine.kernels.noise import token_noise
from diffengine.kernels.shaping import (
    Draw,
    Shaping,
    score_of,
    shaped,
    top_k_only,
    top_p_only,
)

D, V = 32, 700


def draw(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def kept(x: torch.Tensor) -> list[set[int]]:
    return [set(row.isfinite().nonzero().flatten().tolist()) for row in x]


HALVES = torch.tensor([[0.5, 0.25, 0.125, 0.0625, 0.0625]]).log2() * math.log(2)


@pytest.mark.parametrize(
    ("p", "expected"),
    [
        (0.0, {0}),
        (0.4, {0}),
        (0.6, {0, 1}),
        (0.8, {0, 1, 2}),
        (0.93, {0, 1, 2, 3}),  # of the last two, which are equal, the lower id
        (0.99, {0, 1, 2, 3, 4}),
    ],
)
def test_top_p_keeps_the_token_that_passes_the_mass(p: float, expected: set[int]) -> None:
    assert kept(top_p_only(HALVES, p)) == [expected]
    shuffled = torch.tensor([3, 0, 4, 2, 1])
    places = {int((shuffled == token).nonzero()) for token in expected}
    if p != 0.93:
        assert kept(top_p_only(HALVES[:, shuffled], p)) == [places]


def test_where_the_mass_is_exactly_p_the_next_token_stays_and_transformers_cuts_it() -> None:
    quarters = torch.zeros(1, 4)
    assert quarters.softmax(-1).cumsum(-1).tolist() == [[0.25, 0.5, 0.75, 1.0]]
    assert kept(top_p_only(quarters, 0.5)) == [{0, 1, 2}]
    (theirs,) = kept(TopPLogitsWarper(0.5)(None, quarters))
    assert len(theirs) == 2
    assert kept(top_p_only(quarters, 0.49)) == [{0, 1}]
    assert kept(top_p_only(quarters, 1.0)) == [{0, 1, 2, 3}]


def test_of_many_equal_tokens_the_lowest_ids_stay() -> None:
    x = torch.zeros(1, 1 << 13)
    x[0, 5000] = 1.0
    p = 1000 / float(x.exp().sum())
    (stay,) = kept(top_p_only(x, p))
    assert 5000 in stay
    assert stay - {5000} == set(range(len(stay) - 1))
    assert len(stay) == pytest.approx(999, abs=2)


@pytest.mark.parametrize("p", [0.05, 0.3, 0.9, 0.99])
def test_top_p_is_transformers_own_away_from_the_edge(p: float) -> None:
    x = draw(200, V) * 3
    assert kept(top_p_only(x, p)) == kept(TopPLogitsWarper(p)(None, x))


@pytest.mark.parametrize("k", [1, 2, 50, V, 5 * V])
def test_top_k_is_transformers_own(k: int) -> None:
    x = draw(50, V).round(decimals=1)  # many are equal
    assert torch.equal(top_k_only(x, k), TopKLogitsWarper(k)(None, x))


def test_tokens_equal_to_the_kth_stay() -> None:
    x = torch.tensor([[3.0, 1.0, 2.0, 2.0, 2.0, 0.0]])
    assert kept(top_k_only(x, 2)) == [{0, 2, 3, 4}]


def test_the_two_cuts_do_not_commute() -> None:
    """Of what top-k leaves the masses are larger, so top-p cuts more when it comes second."""
    x = HALVES
    first_p = Shaping(top_p=0.8, top_k=2)
    first_k = Shaping(top_p=0.6, top_k=2, top_k_first=True)
    assert kept(shaped(x, first_p)) == [{0, 1}]
    assert kept(shaped(x, first_k)) == [{0}]  # 0.5 of 0.75 is more than 0.6
    assert kept(shaped(x, Shaping(top_p=0.6, top_k=2))) == [{0, 1}]


def slow_cut(logits: list[float], temperature: float, p: float, k: int) -> list[float]:
    """The probabilities of the shaped distribution, token by token in float64: Dream's order."""
    x = [value / temperature for value in logits]
    order = sorted(range(len(x)), key=lambda token: (-x[token], token))
    total = math.fsum(math.exp(value) for value in x)
    stays: set[int] = set()
    mass = 0.0
    for token in order:
        if p >= 1 or mass <= p:
            stays.add(token)
        mass += math.exp(x[token]) / total
    least = sorted((x[token] for token in stays), reverse=True)[: k or len(stays)][-1]
    stays = {token for token in stays if x[token] >= least}
    left = math.fsum(math.exp(x[token]) for token in stays)
    return [math.exp(x[i]) / left if i in stays else 0.0 for i in range(len(x))]


@pytest.mark.parametrize("temperature", [0.2, 1.0, 1.7])
@pytest.mark.parametrize(("p", "k"), [(1.0, 0), (0.9, 0), (1.0, 5), (0.95, 8), (0.0, 3)])
def test_the_distribution_and_its_scores_are_the_slow_twins(
    temperature: float, p: float, k: int
) -> None:
    logits = draw(20, 90, seed=3) * 2
    x = shaped(Draw(temperature).tempered(logits), Shaping(top_p=p, top_k=k))
    ours = x.softmax(-1)
    token = x.argmax(-1)
    for row, probabilities in enumerate(
        slow_cut(each, temperature, p, k) for each in logits.double().tolist()
    ):
        twin = torch.tensor(probabilities, dtype=torch.float64)
        assert kept(x[row : row + 1]) == [set((twin > 0).nonzero().flatten().tolist())]
        torch.testing.assert_close(ours[row].double(), twin, atol=1e-6, rtol=1e-5)
        first, second = sorted(probabilities, reverse=True)[:2]
        entropy = math.fsum(q * math.log(q + 1e-10) for q in probabilities)
        plain = math.fsum(q * math.log(q) for q in probabilities if q > 0)
        expected = {
            Shaping(score="probability"): first,
            Shaping(score="margin"): first - second,
            Shaping(score="entropy", log_offset=1e-10): entropy,
            Shaping(score="entropy"): plain,
        }
        for shaping, value in expected.items():
            score = score_of(x[row : row + 1], token[row : row + 1], shaping)
            assert float(score) == pytest.approx(value, abs=2e-6), shaping


def test_one_token_alone_is_sure() -> None:
    x = torch.full((1, 6), -torch.inf)
    x[0, 2] = -3.0
    token = torch.tensor([2])
    assert float(score_of(x, token, Shaping())) == 1.0
    assert float(score_of(x, token, Shaping(score="margin"))) == 1.0
    assert float(score_of(x, token, Shaping(score="entropy"))) == 0.0


def test_the_offset_is_added_to_every_probability() -> None:
    """Where it is as large as they are, adding it and replacing them by it differ."""
    x = torch.full((1, 1001), math.log(1e-10), dtype=torch.float64)
    x[0, 0] = 0.0
    p = 1e-10 / (1 + 1e-7)
    rest = 1 / (1 + 1e-7)
    expected = rest * math.log(rest + 1e-10) + 1000 * p * math.log(p + 1e-10)
    shaping = Shaping(score="entropy", log_offset=1e-10)
    score = score_of(x, torch.tensor([0]), shaping)
    assert float(score) == pytest.approx(expected, rel=1e-9)


def test_tokens_that_may_not_be_proposed_are_out_before_anything_is_cut() -> None:
    """Else the mask token alone could be all of a nucleus."""
    x = torch.tensor([[9.0, 1.0, 0.5, 0.0, 8.0]])
    draw_of = Draw(temperature=1.0, exclude_id=0, n_candidates=4)
    assert kept(shaped(draw_of.tempered(x), Shaping(top_p=0.6))) == [{1, 2}]
    assert kept(shaped(draw_of.tempered(x), Shaping(top_k=1))) == [{1}]


def head_of(sampling: Sampling, *, chunk_rows: int = 4096) -> Head:
    return Head(draw(V, D, seed=1) * 0.5, sampling=sampling, chunk_rows=chunk_rows)


def rows_of(n: int) -> Rows:
    counter = torch.stack([torch.full((n,), 77), torch.arange(n), torch.full((n,), 3)], 1)
    return Rows(draw(n, D, seed=2), counter=counter)


SAMPLINGS = {
    "greedy": Sampling(exclude_id=5, n_candidates=690, shaping=Shaping(score="margin")),
    "warm": Sampling(
        temperature=0.8,
        exclude_id=5,
        n_candidates=690,
        shaping=Shaping(top_p=0.9, top_k=30, score="entropy"),
    ),
    "literal": Sampling(temperature=0.8, literal=True, shaping=Shaping(top_p=0.7)),
}


@pytest.mark.parametrize("name", list(SAMPLINGS))
@pytest.mark.parametrize("n", [0, 1, 5, 1600])
def test_neither_chunks_nor_blocks_show(name: str, n: int) -> None:
    """1600 rows of 700 logits are more than a block of them."""
    rows = rows_of(n)
    _, whole = head_of(SAMPLINGS[name]).step(rows)
    _, pieces = head_of(SAMPLINGS[name], chunk_rows=64).step(rows)
    assert torch.equal(whole.token, pieces.token)
    assert whole.confidence.shape == (n,)
    torch.testing.assert_close(whole.confidence, pieces.confidence, atol=1e-6, rtol=1e-5)
    if n > 2:
        _, alone = head_of(SAMPLINGS[name]).step(rows.select(slice(2, 3)))
        assert alone.token == whole.token[2]


@pytest.mark.parametrize("name", list(SAMPLINGS))
def test_the_statistics_stay_those_of_the_model(name: str) -> None:
    import dataclasses

    rows = rows_of(40)
    plain = dataclasses.replace(SAMPLINGS[name], shaping=None)
    ours, _ = head_of(SAMPLINGS[name]).step(rows, topk=3)
    theirs, _ = head_of(plain).step(rows, topk=3)
    for one, two in zip(ours, theirs, strict=True):
        assert torch.equal(one, two) or (one.isnan() & two.isnan()).all()


def test_literally_the_likeliest_token_is_that_of_the_rounded_probabilities() -> None:
    """Two logits that bfloat16 tells apart, and whose probabilities it does not."""
    weight = torch.tensor([[0.1], [0.1005], [-1.0], [-1.0]], dtype=torch.bfloat16)
    assert weight[0] < weight[1]
    p = weight[:, 0].softmax(-1)
    assert p[0] == p[1]
    rows = Rows(torch.ones(1, 1, dtype=torch.bfloat16))
    for literal, token in ((True, int(p.max(-1).indices)), (False, 1)):
        sampling = Sampling(literal=literal, shaping=Shaping())
        _, proposal = Head(weight, sampling=sampling).step(rows)
        assert proposal.token.tolist() == [token]
    assert int(p.max(-1).indices) == 0


def test_the_noise_picks_among_what_is_left() -> None:
    sampling = SAMPLINGS["warm"]
    rows = rows_of(30)
    head = head_of(sampling)
    _, proposal = head.step(rows)
    logits = head.logits(rows.hidden)
    noise = token_noise(rows.counter, vocabulary=V, seed=0)
    for row in range(30):
        allowed = [token for token in range(690) if token != 5]
        values = [float(logits[row, token]) for token in allowed]
        probabilities = slow_cut(values, 0.8, 0.9, 30)
        keys = {
            token: math.log(q) - math.log(float(noise[row, token]))
            for token, q in zip(allowed, probabilities, strict=True)
            if q > 0
        }
        assert int(proposal.token[row]) == max(keys, key=lambda token: keys[token])


def test_tokens_are_drawn_as_often_as_the_shaped_distribution_says() -> None:
    from scipy.stats import chisquare

    n = 20000
    logits = torch.tensor([2.0, 1.5, 1.0, 0.0, -1.0, -3.0])
    weight = logits[:, None].clone()
    sampling = Sampling(temperature=1.3, seed=4, shaping=Shaping(top_p=0.9))
    counter = torch.stack([torch.arange(n), torch.arange(n) % 7, torch.zeros(n).long()], 1)
    _, proposal = Head(weight, sampling=sampling).step(Rows(torch.ones(n, 1), counter=counter))
    expected = slow_cut(logits.double().tolist(), 1.3, 0.9, 0)
    left = [token for token, q in enumerate(expected) if q > 0]
    assert left == [0, 1, 2, 3]
    counts = torch.bincount(proposal.token, minlength=6).tolist()
    assert counts[4:] == [0, 0]
    test = chisquare([counts[token] for token in left], [n * expected[token] for token in left])
    assert test.pvalue > 1e-3
    for token in left:
        confidence = proposal.confidence[proposal.token == token]
        assert confidence[0] == pytest.approx(expected[token], abs=1e-6)
