"""The chunked head: what comes out does not depend on the chunks or the company, and no large
tensor exists."""

from __future__ import annotations

import pytest
import torch

from diffengine.kernels.head import Head, Rows, Sampling

D, V = 32, 700


def weight() -> torch.Tensor:
    return torch.randn(V, D, generator=torch.Generator().manual_seed(0))


def hidden(n: int, seed: int = 1) -> torch.Tensor:
    return torch.randn(n, D, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("n", [0, 1, 3, 64, 150])
def test_chunks_do_not_show(n: int) -> None:
    sampling = Sampling(exclude_id=5, n_candidates=690)
    h, before = hidden(n), hidden(n, 2)
    whole = Head(weight(), sampling=sampling, chunk_rows=4096).step(
        Rows(h, previous=before), topk=4
    )
    pieces = Head(weight(), sampling=sampling, chunk_rows=64).step(Rows(h, previous=before), topk=4)
    for one, two in zip((*whole[0], *whole[1]), (*pieces[0], *pieces[1]), strict=True):
        assert one.shape == two.shape
        torch.testing.assert_close(one, two, atol=1e-5, rtol=1e-5, equal_nan=True)


def test_a_row_alone_is_bit_equal_to_the_row_in_company() -> None:
    head, h = Head(weight(), sampling=Sampling()), hidden(200)
    together = head.logits(h)
    for i in (0, 7, 199):
        assert torch.equal(head.logits(h[i : i + 1])[0], together[i])


def test_guidance_is_the_published_mix() -> None:
    head = Head(weight(), sampling=Sampling(), guidance=1.5)
    conditional, unconditional = hidden(70), hidden(70, 2)
    stats, _ = head.step(Rows(conditional, unconditional))
    cond, uncond = conditional @ weight().T, unconditional @ weight().T
    torch.testing.assert_close(
        stats.lse, (uncond + 2.5 * (cond - uncond)).logsumexp(-1), atol=1e-4, rtol=1e-5
    )
    mixed = (
        head.guide(conditional, unconditional) @ weight().T
    )  # linear: mixing hidden states is the same
    torch.testing.assert_close(mixed, uncond + 2.5 * (cond - uncond), atol=1e-4, rtol=1e-4)


def test_suppressed_ids_leave_the_distribution_and_the_confidence_apart() -> None:
    h = hidden(70)
    logits = h @ weight().T
    best = int(logits.argmax(-1)[0])
    stats, proposal = Head(weight(), sampling=Sampling(suppress=(best,))).step(Rows(h))
    assert (proposal.token != best).all()
    kept = logits.clone()
    kept[:, best] = -torch.inf
    torch.testing.assert_close(stats.lse, kept.logsumexp(-1))
    stats, proposal = Head(weight(), sampling=Sampling(confidence_suppress=(best,))).step(Rows(h))
    assert proposal.token[0] == best
    assert proposal.confidence[0] == 0.0
    torch.testing.assert_close(stats.lse, logits.logsumexp(-1))


def test_sampling_without_counters_is_refused() -> None:
    with pytest.raises(ValueError, match="noise counters"):
        Head(weight(), sampling=Sampling(temperature=1.0)).step(Rows(hidden(3)))


def test_no_tensor_holds_all_rows_of_logits() -> None:
    largest = 0

    class Watch(torch.overrides.TorchFunctionMode):
        def __torch_function__(self, func, types, args=(), kwargs=None):  # type: ignore[no-untyped-def]
            nonlocal largest
            out = func(*args, **(kwargs or {}))
            if isinstance(out, torch.Tensor):
                largest = max(largest, out.numel())
            return out

    h = hidden(1000)
    with Watch():
        Head(weight(), sampling=Sampling(), chunk_rows=100).step(Rows(h, previous=h), topk=16)
    assert largest <= 100 * V
