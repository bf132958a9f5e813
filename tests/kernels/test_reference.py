"""The specification of the statistics, against float64 and closed forms, on ordinary and
adversarial rows."""

from __future__ import annotations

import math

import pytest
import torch

from diffengine.kernels.reference import STATUS_EMPTY, STATUS_NOT_FINITE, logit_stats

VOCABULARIES = [1, 2, 7, 5003, 126464]


def rows(vocabulary: int, n: int = 5, seed: int = 0) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    x = 3 * torch.randn(n, vocabulary, generator=generator)
    x[torch.arange(n), torch.randint(vocabulary, (n,), generator=generator)] += 15
    return x


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("vocabulary", VOCABULARIES)
def test_against_float64(vocabulary: int, dtype: torch.dtype) -> None:
    x, y = rows(vocabulary).to(dtype), rows(vocabulary, seed=1).to(dtype)
    targets = torch.tensor([[0, vocabulary - 1, -1]] * len(x))
    stats = logit_stats(x, targets, previous=y, topk=3)
    wide, before = x.double(), y.double()
    logp, logq = wide.log_softmax(-1), before.log_softmax(-1)
    close = {"atol": 1e-5, "rtol": 1e-6}
    torch.testing.assert_close(stats.lse.double(), wide.logsumexp(-1), **close)
    torch.testing.assert_close(
        stats.entropy.double(), -(logp.exp() * logp).sum(-1) / math.log(2), **close
    )
    torch.testing.assert_close(
        stats.kl.double(), (logp.exp() * (logp - logq)).sum(-1) / math.log(2), **close
    )
    torch.testing.assert_close(stats.mean.double(), wide.mean(-1), **close)
    torch.testing.assert_close(stats.std.double(), wide.std(-1, correction=0), **close)
    torch.testing.assert_close(stats.target_logprob[:, :2].double(), logp[:, [0, -1]], **close)
    assert stats.target_logprob[:, 2].isnan().all()
    assert torch.equal(stats.top1_id, x.argmax(-1))
    torch.testing.assert_close(stats.top1_prob.double(), logp.exp().amax(-1), **close)
    top = x.topk(min(3, vocabulary), -1)
    assert torch.equal(stats.topk_logit, top.values)
    if vocabulary > 1:
        best = x.float().topk(2, -1).values
        assert torch.equal(stats.margin, best[:, 0] - best[:, 1])
    else:
        assert stats.margin.isinf().all()


def test_the_softmax_of_torch_does_not_lend_its_own_sum() -> None:
    """Of many equal terms that sum is off by 1e-4."""
    x = torch.tensor([-0.3, -1.3, -5.7])[:, None].repeat(1, 126464)
    x[:, 0] = 0.0
    y = x.roll(1, 0)
    stats, exact = logit_stats(x, previous=y), logit_stats(x.double(), previous=y.double())
    assert ((1 / x.softmax(-1)[:, 0]).log() - exact.lse).abs().max() > 3e-5
    for name, tolerance in (("lse", 2e-6), ("entropy", 4e-6), ("kl", 1e-5)):
        assert (getattr(stats, name) - getattr(exact, name)).abs().max() < tolerance, name


def test_known_distributions() -> None:
    uniform = logit_stats(torch.full((1, 1024), 7.0))
    assert uniform.entropy.item() == pytest.approx(10.0, abs=1e-6)
    certain = torch.zeros(1, 1024)
    certain[0, 3] = 200.0
    assert logit_stats(certain).entropy.item() == pytest.approx(0.0, abs=1e-9)
    coin = torch.tensor([[math.log(0.25), math.log(0.75)]])
    fair = torch.tensor([[0.0, 0.0]])
    expected = 0.25 * math.log2(0.5) + 0.75 * math.log2(1.5)
    assert logit_stats(coin, previous=fair).kl.item() == pytest.approx(expected, abs=1e-6)


@pytest.mark.parametrize("offset", [1e4, -1e4])
def test_an_offset_costs_no_digits(offset: float) -> None:
    x = torch.randint(-8, 8, (4, 5003)).float()  # whole numbers survive the offset exactly
    torch.testing.assert_close(
        logit_stats(x + offset).entropy, logit_stats(x).entropy, atol=1e-6, rtol=0
    )


def test_ties_go_to_the_lowest_id() -> None:
    x = torch.zeros(1, 100)
    x[0, [17, 40, 99]] = 5.0
    stats = logit_stats(x)
    assert stats.top1_id.item() == 17
    assert stats.margin.item() == 0.0


def test_candidates_are_restricted_but_the_distribution_is_not() -> None:
    x = rows(50)
    best = x.argmax(-1)[0].item()
    free, restricted = logit_stats(x), logit_stats(x, exclude_id=int(best))
    assert restricted.top1_id[0] != best
    assert torch.equal(free.lse, restricted.lse)
    few = logit_stats(x, n_candidates=10, exclude_id=3)
    x[:, 3] = -math.inf
    assert torch.equal(few.top1_id, x[:, :10].argmax(-1)) and torch.equal(
        few.top1_logit, x[:, :10].amax(-1)
    )
    none = logit_stats(x[:2], n_candidates=1, exclude_id=0)
    assert none.top1_id.tolist() == [-1, -1] and none.top1_prob.tolist() == [0, 0]


def test_minus_infinity_drops_out_exactly() -> None:
    x = rows(100)
    cut = torch.cat([x, torch.full((5, 30), -math.inf)], -1)
    one, two = logit_stats(x, previous=x + 1), logit_stats(cut, previous=cut + 1)
    for name in ("lse", "entropy", "kl", "mean", "std"):
        torch.testing.assert_close(getattr(one, name), getattr(two, name), atol=1e-6, rtol=1e-6)


def test_kl_is_zero_infinite_or_undefined_where_it_should_be() -> None:
    x = rows(100)
    assert (logit_stats(x, previous=x).kl.abs() < 1e-6).all()
    impossible = x.clone()
    impossible[:, 4] = -math.inf
    assert (logit_stats(x, previous=impossible).kl == math.inf).all()
    impossible[:, 4] = -(2.0**31)  # at or below FLOOR is as good as that
    assert (logit_stats(x, previous=impossible).kl == math.inf).all()
    assert logit_stats(x).kl.isnan().all()
    missing = torch.full_like(x, math.nan)
    assert logit_stats(x, previous=missing).kl.isnan().all()


def test_broken_rows_are_marked_and_nothing_is_guessed() -> None:
    x = rows(20, n=4)
    x[0, 3], x[1, 3], x[2] = math.nan, math.inf, -math.inf
    stats = logit_stats(x)
    assert stats.status.tolist() == [STATUS_NOT_FINITE, STATUS_NOT_FINITE, STATUS_EMPTY, 0]
    assert stats.top1_id[:3].tolist() == [-1, -1, -1]
    assert stats.lse[2] == -math.inf
    assert stats.entropy[2].isnan()


def test_no_rows() -> None:
    stats = logit_stats(torch.empty(0, 50), torch.empty(0, 2, dtype=torch.int64), topk=4)
    assert all(len(column) == 0 for column in stats)
    assert stats.target_logprob.shape == (0, 2)
    assert stats.topk_id.shape == (0, 4)
