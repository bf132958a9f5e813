"""What must hold of the Triton statistics whatever the numbers: dtypes, shapes, shifts, splits; and
the rule of Wijmans et al. 2024 (cut cross-entropy): no less exact than torch itself in the logits'
own dtype."""

from __future__ import annotations

import pytest
import torch

from diffengine.kernels import reference
from diffengine.kernels.triton_rows.launch import Tiles, logit_stats

BITS = 1.4426950408889634
TILES = Tiles(lanes=256)


def rows(n: int, vocabulary: int, *, seed: int = 0) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    x = 3 * torch.randn(n, vocabulary, generator=generator)
    x[torch.arange(n), torch.randint(vocabulary, (n,), generator=generator)] += 15
    return x


@pytest.mark.usefixtures("poisoned")
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32])
@pytest.mark.parametrize(
    ("n", "vocabulary", "targets", "topk"), [(1, 255, 8, 1), (3, 1024, 0, 2), (1, 1025, 3, 16)]
)
def test_shapes_and_dtypes(
    device: torch.device, n: int, vocabulary: int, targets: int, topk: int, dtype: torch.dtype
) -> None:
    x, y = (rows(n, vocabulary, seed=seed).to(dtype) for seed in (0, 1))
    gold = torch.randint(vocabulary, (n, targets))
    exact = reference.logit_stats(x.double(), gold, previous=y.double(), topk=topk)
    found = logit_stats(
        x.to(device), gold.to(device), previous=y.to(device), topk=topk, tiles=TILES
    )
    for name in (
        "lse",
        "entropy",
        "top1_prob",
        "margin",
        "mean",
        "std",
        "target_logprob",
        "kl",
        "topk_logit",
    ):
        ours, true = getattr(found, name).double().cpu(), getattr(exact, name).double()
        torch.testing.assert_close(
            ours, true, atol=1e-5, rtol=1e-6, msg=lambda m, n=name: f"{n}: {m}"
        )
    assert torch.equal(found.top1_id.cpu(), exact.top1_id) and found.topk_logit.dtype == dtype


def test_more_rows_than_one_program_finishes(device: torch.device) -> None:
    x = rows(33, 70)
    found, exact = (
        logit_stats(x.to(device), tiles=Tiles(lanes=128)),
        reference.logit_stats(x.double()),
    )
    assert torch.equal(found.top1_id.cpu(), exact.top1_id)
    torch.testing.assert_close(found.entropy.double().cpu(), exact.entropy, atol=4e-6, rtol=0)


def test_no_less_exact_than_torch_in_the_same_dtype(device: torch.device) -> None:
    for dtype in (torch.bfloat16, torch.float32):
        x = rows(8, 2051).to(dtype)
        logp = x.log_softmax(-1)
        exact = x.double().log_softmax(-1)
        found = logit_stats(x.to(device), torch.arange(8)[:, None].to(device), tiles=TILES)
        entropy = -(exact.exp() * exact).sum(-1) * BITS
        theirs = (-(logp.exp() * logp).sum(-1).double() * BITS - entropy).abs().max()
        assert (found.entropy.double().cpu() - entropy).abs().max() <= theirs + 1e-5
        at = torch.arange(8)
        theirs = (logp[at, at].double() - exact[at, at]).abs().max()
        assert (
            found.target_logprob[:, 0].double().cpu() - exact[at, at]
        ).abs().max() <= theirs + 1e-5


def test_a_shift_moves_logits_and_nothing_else(device: torch.device) -> None:
    x, y = (
        (4 * rows(3, 900, seed=seed)).round() / 4 for seed in (0, 1)
    )  # quarters survive a shift exactly
    for shift in (-3000.0, 10000.0):
        one, two = (
            logit_stats((x + s).to(device), previous=(y + s).to(device), tiles=TILES)
            for s in (0.0, shift)
        )
        assert torch.equal(one.top1_id, two.top1_id) and torch.equal(one.margin, two.margin)
        loose = 4e-6 + 3e-7 * abs(shift)  # kl subtracts logsumexps that have moved
        torch.testing.assert_close(one.entropy, two.entropy, atol=4e-6, rtol=0)
        torch.testing.assert_close(one.kl, two.kl, atol=loose, rtol=0)
        torch.testing.assert_close(one.lse + shift, two.lse, atol=loose, rtol=0)


def test_splits_agree(device: torch.device) -> None:
    x, y = (rows(2, 7000, seed=seed).to(device) for seed in (0, 1))
    x[0, [30, 5000]] = 25.0  # a tie across parts
    found = [logit_stats(x, previous=y, topk=5, tiles=Tiles(256, 4, parts)) for parts in (1, 2, 7)]
    assert found[0].top1_id[0] == 30 and found[0].margin[0] == 0
    for other in found[1:]:
        for name in ("top1_id", "top1_logit", "topk_logit", "margin", "status"):
            assert torch.equal(getattr(found[0], name), getattr(other, name)), name
        for name in ("lse", "entropy", "kl", "mean", "std"):
            torch.testing.assert_close(
                getattr(found[0], name), getattr(other, name), atol=4e-6, rtol=1e-6
            )


def test_cross_entropy_is_entropy_plus_kl(device: torch.device) -> None:
    x, y = (rows(4, 1200, seed=seed) for seed in (0, 1))
    found = logit_stats(x.to(device), previous=y.to(device), tiles=TILES)
    p, logq = x.double().softmax(-1), y.double().log_softmax(-1)
    cross = -(p * logq).sum(-1) * BITS
    torch.testing.assert_close(
        (found.entropy + found.kl).double().cpu(), cross, atol=1e-5, rtol=1e-6
    )
    assert (found.kl > 0).all()
