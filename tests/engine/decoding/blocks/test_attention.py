"""Attention of open blocks against pairs of tokens written out: row by row under a mask or without,
with keys that are kept or all new; and what the GPU's kernel is asked for."""

from __future__ import annotations

import inspect
import math
from typing import Any

import pytest
import torch
from torch import Tensor

from diffengine.engine.models import attention, block_attention
from diffengine.engine.models.block_attention import BlockPacking, Span, seen_by_blocks
from diffengine.engine.models.cache import KeyValueCache, token_bytes
from diffengine.engine.models.loading import MaskedDiffusionModel

from .test_batches import DYNAMIC, assert_same, prompts
from .watched import config_of, watched

CPU = torch.device("cpu")
HEADS, KEY_HEADS, SIZE = 4, 2, 8


class Shape:
    """What a cache asks of transformers' config."""

    num_hidden_layers = 2
    num_attention_heads = HEADS
    num_key_value_heads = KEY_HEADS
    head_dim = SIZE
    hidden_size = 32


@pytest.mark.parametrize("open_from", [None, 9, 12])
@pytest.mark.parametrize("shift", [0, 1, 3])
@pytest.mark.parametrize("new", [range(0, 13), range(8, 13), range(12, 13), range(3, 4)], ids=str)
def test_who_sees_whom(new: range, shift: int, open_from: int | None) -> None:
    seen = seen_by_blocks(new, block_length=4, shift=shift, open_from=open_from, device=CPU)
    assert seen.shape == (len(new), new.stop)
    for at, query in enumerate(new):
        for key in range(new.stop):
            if open_from is None:
                expected = (key + shift) // 4 <= (query + shift) // 4
            else:
                expected = key <= query or query >= open_from
            assert bool(seen[at, key]) == expected


def pairs(query: Tensor, key: Tensor, value: Tensor, allowed: Tensor | None) -> Tensor:
    """Attention [N, H, d] in float64 of queries [H, N, d] to keys [H', M, d], one at a time."""
    out = torch.zeros(query.shape[1], HEADS, SIZE, dtype=torch.float64)
    for at in range(query.shape[1]):
        keys = [k for k in range(key.shape[1]) if allowed is None or allowed[at, k]]
        for head in range(HEADS):
            own = head * KEY_HEADS // HEADS
            scores = key[own, keys].double() @ query[head, at].double() / math.sqrt(SIZE)
            out[at, head] = scores.softmax(0) @ value[own, keys].double()
    return out


def one_by_one(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    cu_seq_q: Tensor,
    cu_seq_k: Tensor,
    max_q: int,
    max_k: int,
    *,
    return_aux: Any = None,
    scale: float | None = None,
    window_size: tuple[int, int] = (-1, -1),
) -> Tensor:
    """The kernel's meaning as torch 2.11 documents it, under its signature there."""
    assert return_aux is None and window_size == (-1, -1)
    assert cu_seq_q.dtype == cu_seq_k.dtype == torch.int32
    assert int(cu_seq_q.diff().max()) == max_q and int(cu_seq_k.diff().max()) == max_k
    assert query.shape[1] == key.shape[1] == value.shape[1]
    assert int(cu_seq_q[-1]) == len(query) and int(cu_seq_k[-1]) == len(key) == len(value)
    CALLS.append(len(cu_seq_q) - 1)
    out = torch.empty_like(query)
    for row in range(len(cu_seq_q) - 1):
        q, k = slice(*cu_seq_q[row : row + 2].tolist()), slice(*cu_seq_k[row : row + 2].tolist())
        scores = torch.einsum("qhd,khd->hqk", query[q], key[k])
        scores = scores * (1 / math.sqrt(query.shape[-1]) if scale is None else scale)
        out[q] = torch.einsum("hqk,khd->qhd", scores.softmax(-1), value[k])
    return out


CALLS: list[int] = []
"""Rows of each call."""


@pytest.fixture
def faked(monkeypatch: pytest.MonkeyPatch) -> None:
    """As if the tensors were on a GPU, whose kernel is written out here."""
    CALLS.clear()
    monkeypatch.setattr("torch.nn.attention.varlen.varlen_attn", one_by_one)
    monkeypatch.setattr(block_attention, "takes_varlen", lambda query: True)


def test_the_installed_kernel_takes_what_2_11_takes() -> None:
    from torch.nn.attention.varlen import varlen_attn

    ours = inspect.signature(one_by_one).parameters
    theirs = inspect.signature(varlen_attn).parameters
    assert list(ours)[:7] == list(theirs)[:7] and ours.keys() <= theirs.keys()


@pytest.mark.parametrize("with_kernel", [False, True])
@pytest.mark.parametrize("keeps", [True, False])
def test_a_row_sees_its_own_tokens_new_and_kept(
    keeps: bool, with_kernel: bool, request: pytest.FixtureRequest
) -> None:
    if with_kernel:
        request.getfixturevalue("faked")
    generator = torch.Generator().manual_seed(0)
    cache = KeyValueCache(Shape(), dtype=torch.float32, device=CPU) if keeps else None
    cached = [5, 0, 9, 2] if keeps else [0] * 4
    new = [4, 3, 8, 4]
    masks = [None, None, seen_by_blocks(range(cached[2], cached[2] + 8), block_length=4, shift=3,
                                        open_from=None, device=CPU), None]  # fmt: skip
    spans, rows, start = [], [], 0
    for slot, (old, fresh, mask) in enumerate(zip(cached, new, masks, strict=True)):
        spans.append(Span(start, fresh, old, slot, mask))
        rows.append(torch.randn(2, 2, KEY_HEADS, old + fresh, SIZE, generator=generator))
        start += fresh
    spans.append(Span(start, 6, 0, -1, None))  # padding
    query = torch.randn(1, HEADS, start + 6, SIZE, generator=generator)
    padding = torch.randn(2, 2, KEY_HEADS, 6, SIZE, generator=generator)
    packing = BlockPacking(tuple(spans), cache, CPU)
    if cache is not None:
        for span, row in zip(spans, rows, strict=False):
            cache.open(span.slot, row.shape[3] + 3)
            for layer in range(2):  # what earlier passes brought
                cache.extended(span.slot, layer, 0, *row[layer, :, :, : span.cached])
        assert cache.bytes == cache.tokens * token_bytes(Shape(), 4)
        assert cache.tokens == sum(cached) + sum(new) + 4 * 3
    for layer in range(2):
        fresh = [row[layer, :, :, span.cached :] for span, row in zip(spans, rows, strict=False)]
        key, value = torch.cat([*fresh, padding[layer]], 2)[:, None]
        mixed = packing.attend(layer, query, key, value, None)[0]
        for span, row in zip(spans, [*rows, padding], strict=True):
            here = slice(span.start, span.start + span.new)
            expected = pairs(query[0, :, here], *row[layer], span.allowed)
            torch.testing.assert_close(mixed[here].double(), expected, atol=1e-5, rtol=1e-5)
    assert not with_kernel or CALLS == [4, 4]  # one call a layer, without the row under a mask
    if cache is not None:
        for span in spans[:4]:
            cache.close(span.slot)
        assert cache.bytes == cache.tokens == 0


@pytest.mark.parametrize("keeps", [True, False])
def test_a_run_through_the_kernel_is_the_same_run(
    sdar: MaskedDiffusionModel, keeps: bool, request: pytest.FixtureRequest
) -> None:
    config = config_of(4, 14, **DYNAMIC)
    plain = watched(sdar, config, prompts(), keeps=keeps)
    request.getfixturevalue("faked")
    found = watched(sdar, config, prompts(), keeps=keeps)
    layers = sdar.network.config.num_hidden_layers
    # Without a cache a row has a mask from its second block on, and needs the kernel no more; one
    # pass more is that without a question.
    assert 0 < len(CALLS) <= layers * (found.phases.forwards + 1)
    assert (max(CALLS) > 4) == keeps
    names = ("token", "committed", "n_forwards", "generated_text", "open_start", "open_end")
    for name, columns in plain.columns.items():
        others = found.columns[name]
        assert_same({n: others[n] for n in names}, {n: columns[n] for n in names})
        for statistic in ("entropy", "logprob", "kl"):
            ours, theirs = (torch.tensor(c[statistic]) for c in (others, columns))
            torch.testing.assert_close(ours, theirs, atol=1e-4, rtol=1e-4, equal_nan=True)


def test_of_no_other_dtype_or_device() -> None:
    query = torch.zeros(1, HEADS, 3, SIZE)
    assert not attention.takes_varlen(query) and not attention.takes_varlen(query.bfloat16())
    for dtype, takes in ((torch.bfloat16, True), (torch.float16, True), (torch.float32, False)):
        on_gpu = type("OnGpu", (), {"is_cuda": True, "dtype": dtype})()
        assert attention.takes_varlen(on_gpu) == takes
