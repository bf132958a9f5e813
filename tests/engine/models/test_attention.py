"""Packed attention with a window against attention written out pair by pair; and what the GPU's
kernel is asked for."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from torch import Tensor

from diffengine.engine.models import attention as module
from diffengine.engine.models.attention import packed_attention, packing_of
from diffengine.engine.models.compiled import StaticPacking
from diffengine.engine.models.reads import reads_of

CPU = torch.device("cpu")
LENGTHS = [40, 40, 7, 65, 70]
HEADS, KEY_HEADS, SIZE = 4, 2, 8


def parts() -> tuple[Tensor, Tensor, Tensor]:
    generator = torch.Generator().manual_seed(0)
    tokens = sum(LENGTHS)
    return tuple(  # type: ignore[return-value]
        torch.randn(1, heads, tokens, SIZE, generator=generator)
        for heads in (HEADS, KEY_HEADS, KEY_HEADS)
    )


def pair_by_pair(
    query: Tensor, key: Tensor, value: Tensor, *, lengths: list[int], window: int | None
) -> Tensor:
    """Attention [T, H, d] of each row, in float64: a token sees those of its row that are fewer
    than `window` positions away."""
    out = []
    start = 0
    for length in lengths:
        for i in range(length):
            near = [j for j in range(length) if window is None or abs(i - j) < window]
            places = torch.tensor(near) + start
            mixed = []
            for head in range(HEADS):
                own = head * KEY_HEADS // HEADS
                scores = key[0, own, places] @ query[0, head, start + i] / math.sqrt(SIZE)
                mixed.append(scores.softmax(0) @ value[0, own, places])
            out.append(torch.stack(mixed))
        start += length
    return torch.stack(out)


@pytest.mark.parametrize("window", [None, 1, 2, 9, 39, 40, 100])
def test_a_token_sees_its_rows_tokens_within_the_window(window: int | None) -> None:
    query, key, value = parts()
    expected = pair_by_pair(
        query.double(), key.double(), value.double(), lengths=LENGTHS, window=window
    )
    layer = torch.nn.Module()
    packing = packing_of(LENGTHS, CPU)
    static = StaticPacking(packing.offsets, max(LENGTHS))
    for packed in (packing, static):
        mixed, _ = packed_attention(
            layer,
            query,
            key,
            value,
            None,
            packing=packed,  # type: ignore[arg-type]
            sliding_window=window,
        )
        torch.testing.assert_close(mixed[0].double(), expected, atol=1e-5, rtol=1e-5)

    reads = reads_of(LENGTHS, packing, rows=4, each=6)
    asked = query[:, :, reads.asked]
    mixed, _ = packed_attention(
        layer, asked, key, value, None, packing=reads.packing, sliding_window=window
    )
    torch.testing.assert_close(mixed[0].double(), expected[reads.asked], atol=1e-5, rtol=1e-5)


def emulated(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    cu_seq_q: Tensor,
    cu_seq_k: Tensor,
    max_q: int,
    max_k: int,
    **settings: Any,
) -> Tensor:
    """What torch documents of `varlen_attn`: rows by their offsets, the last query beside the last
    key, a window to the left and the right, -1 being none."""
    left, right = settings["window_size"]
    assert settings["scale"] is None
    out = torch.zeros_like(query)
    for row in range(len(cu_seq_q) - 1):
        first, last = int(cu_seq_q[row]), int(cu_seq_q[row + 1])
        begin, end = int(cu_seq_k[row]), int(cu_seq_k[row + 1])
        assert last - first <= max_q
        assert end - begin <= max_k
        for i in range(last - first):
            place = end - begin - (last - first) + i
            near = [
                begin + j
                for j in range(end - begin)
                if (left < 0 or place - j <= left) and (right < 0 or j - place <= right)
            ]
            scores = torch.einsum("hd,jhd->hj", query[first + i], key[near]) / math.sqrt(SIZE)
            out[first + i] = torch.einsum("hj,jhd->hd", scores.softmax(-1), value[near])
    return out


@pytest.mark.parametrize("window", [None, 1, 9])
def test_the_kernel_is_asked_for_the_same(
    window: int | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The kernel itself needs a GPU; here its documented meaning stands in for it."""
    monkeypatch.setattr("torch.nn.attention.varlen.varlen_attn", emulated)
    query, key, value = parts()
    reach = None if window is None else window - 1
    packing = packing_of(LENGTHS, CPU)
    reads = reads_of(LENGTHS, packing, rows=4, each=6)
    expected = pair_by_pair(query, key, value, lengths=LENGTHS, window=window)
    whole = module._varlen(query, key, value, packing, scaling=None, reach=reach)
    torch.testing.assert_close(whole[0], expected, atol=1e-5, rtol=1e-5)
    asked = query[:, :, reads.asked]
    part = module._varlen(asked, key, value, reads.packing, scaling=None, reach=reach)
    torch.testing.assert_close(part[0], expected[reads.asked], atol=1e-5, rtol=1e-5)
