"""The ring of the step before: the same KL as by projecting again, wherever a row moves, and no
larger tensor."""

from __future__ import annotations

import math

import pytest
import torch

from diffengine.kernels.head import Head, Rows, Sampling
from diffengine.kernels.ring import LogitRing

D, V, G = 32, 700, 30


def made(n_slots: int, **options: object) -> tuple[Head, Head]:
    weight = torch.randn(V, D, generator=torch.Generator().manual_seed(0))
    ring = LogitRing.if_it_fits(n_slots * G, weight)
    assert ring is not None
    sampling = Sampling(exclude_id=5, n_candidates=690, suppress=(7,))
    return (
        Head(weight, sampling=sampling, chunk_rows=64, ring=ring),
        Head(weight, sampling=sampling, chunk_rows=64),
    )


def rows_of(
    slots: list[int], fresh: set[int], now: dict[int, torch.Tensor], last: dict[int, torch.Tensor]
) -> Rows:
    place = torch.cat([torch.arange(G) + s * G for s in slots])
    first = torch.tensor([s in fresh for s in slots]).repeat_interleave(G)
    missing = torch.full((G, D), math.nan)
    before = torch.cat([missing if s in fresh else last[s] for s in slots])
    return Rows(torch.cat([now[s] for s in slots]), None, before, place=place, first=first)


def test_rows_that_enter_leave_and_move_keep_their_own_step_before() -> None:
    with_ring, without = made(4)
    generator = torch.Generator().manual_seed(2)
    last: dict[int, torch.Tensor] = {}
    # slots in the order in which they lie on the canvas, and which of them have just entered
    story = [
        ([0, 1, 2], {0, 1, 2}),
        ([2, 0, 1], set()),
        ([2, 3, 1], {3}),
        ([0, 3, 2], {0}),
        ([3, 0, 2], set()),
    ]
    for slots, fresh in story:
        now = {s: torch.randn(G, D, generator=generator) for s in slots}
        rows = rows_of(slots, fresh, now, last)
        ours, _ = with_ring.step(rows)
        assert with_ring.ring is not None and rows.place is not None
        held = with_ring.ring.before(rows.place[:0], rows.place[:0].bool())
        assert torch.equal(held.lse[rows.place], ours.lse)
        projected, _ = without.step(rows)
        torch.testing.assert_close(ours.kl, projected.kl, atol=1e-5, rtol=1e-5, equal_nan=True)
        assert ours.kl.isnan().tolist() == [s in fresh for s in slots for _ in range(G)]
        last |= now


def test_a_row_that_was_not_read_last_time_has_no_step_before() -> None:
    head, _ = made(1)
    generator = torch.Generator().manual_seed(3)
    first = torch.zeros(G, dtype=torch.bool)

    def step(which: slice) -> torch.Tensor:
        place = torch.arange(G)[which]
        hidden = torch.randn(len(place), D, generator=generator)
        return head.step(Rows(hidden, place=place, first=first[which]))[0].kl

    step(slice(None))
    assert step(slice(0, 10)).isfinite().all()
    later = step(slice(None))
    assert later[:10].isfinite().all() and later[10:].isnan().all()


def test_the_ring_and_one_chunk_are_the_only_large_tensors() -> None:
    head, _ = made(20)
    sizes: list[int] = []

    class Watch(torch.overrides.TorchFunctionMode):
        def __torch_function__(self, func, types, args=(), kwargs=None):  # type: ignore[no-untyped-def]
            out = func(*args, **(kwargs or {}))
            if isinstance(out, torch.Tensor):
                sizes.append(out.untyped_storage().nbytes() // out.element_size())
            return out

    rows = Rows(
        torch.randn(20 * G, D),
        place=torch.arange(20 * G),
        first=torch.zeros(20 * G, dtype=torch.bool),
    )
    with Watch():
        head.step(rows, topk=8)
        head.step(rows, topk=8)
    assert head.ring is not None and head.ring.logits.numel() == 20 * G * V
    assert max(size for size in sizes if size != head.ring.logits.numel()) <= 64 * V


def test_a_ring_that_would_be_too_large_is_not_made() -> None:
    weight = torch.empty(126464, 8, device="meta")
    assert LogitRing.if_it_fits(20000, weight) is None


def test_what_the_ring_needs_is_asked_for() -> None:
    head, _ = made(1)
    with pytest.raises(ValueError, match="place"):
        head.step(Rows(torch.randn(3, D)))
    with pytest.raises(ValueError, match="make them equal"):
        Head(head.weight, sampling=Sampling(), ring=head.ring, logits_dtype=torch.bfloat16)


def test_wider_logits_than_the_model_has() -> None:
    weight = torch.randn(V, D, generator=torch.Generator().manual_seed(0)).bfloat16()
    hidden = torch.randn(70, D, generator=torch.Generator().manual_seed(1)).bfloat16()
    logits = Head(weight, sampling=Sampling(), logits_dtype=torch.float32).logits(hidden)
    torch.testing.assert_close(logits, hidden.float() @ weight.float().T, atol=1e-5, rtol=1e-5)
    assert Head(weight, sampling=Sampling()).logits(hidden).dtype == torch.bfloat16
