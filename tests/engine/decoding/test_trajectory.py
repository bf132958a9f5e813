"""A finished trajectory in parts gives the bits it gives whole, in the memory that the account
says."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
import pytest
import torch
from torch.profiler import ProfilerActivity, profile

from diffengine.engine.config import RunConfig
from diffengine.engine.decoding import trajectory
from diffengine.engine.decoding.loop import ROWS_AHEAD
from diffengine.engine.decoding.trajectory import (
    all_logits,
    answer_states,
    cka_of,
    masked_states,
    steps_at_once,
)
from diffengine.engine.models.loading import MaskedDiffusionModel
from diffengine.engine.runs.memory import footprint
from diffengine.kernels.geometry import LogitGeometry, cka_matrix, debiased_cka
from diffengine.kernels.matrix_product import safe_rows

SHAPES = [(12, 16, 128), (48, 48, 128), (9, 100, 96), (5, 7, 256)]


@pytest.fixture(params=[torch.float32, torch.bfloat16], ids=str)
def dtype(request: pytest.FixtureRequest) -> torch.dtype:
    return request.param


def sample(steps: int, positions: int, width: int, dtype: torch.dtype) -> tuple[torch.Tensor, ...]:
    """Hidden states, what was seen masked, and the steps with a forward pass (all but one)."""
    generator = torch.Generator().manual_seed(steps)
    hidden = torch.randn(steps, positions, width, generator=generator).cumsum(0).to(dtype)
    order = torch.rand(positions, generator=generator).argsort().argsort()
    seen = order[None] >= torch.arange(steps)[:, None] * positions // steps
    walked = torch.tensor([i for i in range(steps) if i != 2])
    hidden[2] = float("nan")
    return hidden, seen, walked


@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_parts_are_even_and_none_is_too_short_for_its_product(shape: tuple[int, int, int]) -> None:
    steps, positions, width = shape
    for limit in (1, 3000, 10**9):
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(trajectory, "WORKING_ELEMENTS", limit)
            parts = steps_at_once(steps, positions=positions, width=width)
        assert [i for part in parts for i in range(part.start, part.stop)] == list(range(steps))
        sizes = {part.stop - part.start for part in parts}
        assert max(sizes) - min(sizes) <= 1
        assert len(parts) == 1 or min(sizes) * positions >= safe_rows()
        if min(sizes) * positions * width > limit:
            assert (min(sizes) - 1) * positions < safe_rows()  # shorter parts were not allowed


@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_parts_give_the_bits_of_the_whole(shape: tuple[int, int, int], dtype: torch.dtype) -> None:
    """Against the whole trajectory at once, written out; three positions of the answer."""
    hidden, seen, walked = sample(*shape, dtype)
    head = torch.randn(200, shape[2], generator=torch.Generator().manual_seed(1)).to(dtype)
    geometry = LogitGeometry(head)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(trajectory, "WORKING_ELEMENTS", 1)
        assert (
            len(steps_at_once(shape[0], positions=shape[1], width=shape[2])) > 1
            or shape[0] * shape[1] < 128
        )
        found = cka_of(geometry, hidden, seen, walked)
        found |= {
            "state_masked": masked_states(hidden, seen),
            "state_answer": answer_states(hidden, (1, 4)),
        }
        logits = all_logits(hidden, head)

    grams = geometry.centred_grams(hidden[walked])
    before, after = seen[walked[:-1]], seen[walked[1:]]
    weight = seen.float() / seen.sum(-1, keepdim=True)
    whole = {
        "cka": cka_matrix(grams),
        "cka_masked": debiased_cka(grams[1:], grams[:-1], before & after),
        "cka_committed": debiased_cka(grams[1:], grams[:-1], ~before & ~after),
        "state_masked": torch.einsum("sg,sgd->sd", weight, hidden.float()),
        "state_answer": hidden.float()[:, 1:4].mean(1),
    }
    found["cka"] = found["cka"][walked][:, walked]
    for name in ("cka_masked", "cka_committed"):
        assert bool(found[name][[0, 2]].isnan().all())
        found[name] = found[name][walked[1:]]
    assert not bool(found["cka"].isnan().any())
    for name, values in whole.items():
        assert torch.equal(found[name].nan_to_num(-7), values.nan_to_num(-7)), name
    expected = hidden @ head.T
    expected = expected.view(torch.uint16) if dtype == torch.bfloat16 else expected
    assert np.array_equal(logits.view(np.uint8), expected.numpy().view(np.uint8))


def peak_bytes(work: Any) -> int:
    """The most bytes of tensors that `work` holds at once beyond those there were, by the
    allocator's own record."""
    with profile(activities=[ProfilerActivity.CPU], profile_memory=True) as seen:
        work()
    assert seen.profiler is not None and seen.profiler.kineto_results is not None
    held, most = 0, 0
    for event in seen.profiler.kineto_results.events():
        if event.name() == "[memory]":
            held += event.nbytes()
            most = max(most, held)
    return most


def test_the_record_sees_what_is_allocated() -> None:
    def work() -> None:
        first = torch.zeros(1000, 1000)
        second = first + 1
        del first
        second.double()

    assert peak_bytes(work) == pytest.approx(12e6, rel=0.01)


@pytest.mark.parametrize("parts", [1, 4])
@pytest.mark.parametrize("shape", [(64, 64, 512), (64, 128, 64)], ids=["wide", "many positions"])
def test_a_problem_that_leaves_takes_what_the_account_says(
    bundled_model: MaskedDiffusionModel, shape: tuple[int, int, int], dtype: torch.dtype, parts: int,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    """Of the reductions; the copies to the host are made on a GPU alone."""
    steps, positions, width = shape
    monkeypatch.setattr(
        trajectory, "WORKING_ELEMENTS", steps * positions * max(width, positions) // parts
    )
    config = RunConfig.of(model="m", steps=steps, gen_length=positions, block_length=positions)
    need = dataclasses.replace(footprint(config, bundled_model), width=width, item=dtype.itemsize)
    hidden, seen, walked = sample(*shape, dtype)
    geometry = LogitGeometry(torch.randn(200, width).to(dtype))

    def work() -> None:
        cka_of(geometry, hidden, seen, walked)
        masked_states(hidden, seen)
        answer_states(hidden, (1, 4))

    work()
    copies = (1 + ROWS_AHEAD) * steps * positions * (need.cell - width * need.item)
    counted = need.finish - copies
    assert 0.5 * counted < peak_bytes(work) <= counted * 1.02


def test_without_an_answer_its_states_are_missing() -> None:
    states = answer_states(torch.ones(3, 4, 5, dtype=torch.bfloat16), (-1, -1))
    assert (states.dtype, tuple(states.shape), bool(states.isnan().all())) == (
        torch.float32,
        (3, 5),
        True,
    )


def test_all_logits_lie_on_the_device_in_part_alone(
    dtype: torch.dtype, monkeypatch: pytest.MonkeyPatch
) -> None:
    steps, positions, width, vocabulary = 32, 64, 32, 1000
    monkeypatch.setattr(trajectory, "WORKING_ELEMENTS", positions * vocabulary)
    hidden = torch.randn(steps, positions, width).to(dtype)
    head = torch.randn(vocabulary, width).to(dtype)
    one_step = positions * vocabulary * dtype.itemsize
    assert one_step <= peak_bytes(lambda: all_logits(hidden, head)) < 2.5 * one_step
