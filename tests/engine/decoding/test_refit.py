"""A fixed schedule after an intervention: no mask is left at the end, nothing commits twice, and
what commits is in reach."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from diffengine.engine.config import RunConfig
from diffengine.engine.decoding.refit import Reach, refitted
from diffengine.engine.models.loading import MaskedDiffusionModel
from diffengine.engine.policies import policies_for
from diffengine.engine.prompts.prompt import Prompt
from diffengine.engine.prompts.start import Start


def blocks(counts: list[int], length: int) -> Reach:
    """`counts` of one block of `length` positions, for three blocks."""
    ends = []
    for block in range(3):
        ends += [length * (block + 1)] * len(counts)
    return Reach(counts * 3, ends)


def masked(positions: range | list[int], length: int) -> np.ndarray:
    canvas = np.zeros(length, bool)
    canvas[list(positions)] = True
    return canvas


def test_a_canvas_that_fits_keeps_its_schedule() -> None:
    schedule = blocks([2, 1, 1], 4)
    assert refitted(schedule, masked(range(12), 12), step=0) == schedule.counts
    later = refitted(schedule, masked(range(6, 12), 12), step=4)
    assert later == [0, 0, 0, 0, *schedule.counts[4:]]


def test_masks_that_were_added_are_shared_evenly_the_first_steps_taking_the_rest() -> None:
    one = Reach([1] * 8, [8] * 8)
    # 4 steps are left for the 4 masks of the schedule and 3 or 4 or 5 more.
    for more, expected in [(3, [2, 2, 2, 1]), (4, [2, 2, 2, 2])]:
        canvas = masked(range(8 - 4 - more, 8), 8)
        assert refitted(one, canvas, step=4)[4:] == expected
    # steps that commit nothing take their part
    gaps = Reach([2, 0, 2, 0], [4] * 4)
    assert refitted(gaps, masked(range(4), 4), step=2)[2:] == [3, 1]


def test_positions_of_a_finished_block_that_were_masked_again() -> None:
    schedule = blocks([1, 1, 1, 1], 4)
    # The first block was finished; all of it is masked at step 4, eight steps before the end.
    counts = refitted(schedule, masked(range(12), 12), step=4)
    assert counts[4:] == [2, 2, 2, 2, 1, 1, 1, 1]


def test_positions_of_a_later_block_that_were_filled() -> None:
    schedule = blocks([1, 1, 1, 1], 4)
    counts = refitted(schedule, masked(range(8), 12), step=0)
    assert counts == [1] * 8 + [0] * 4
    # half of this block filled: its last steps have nothing, and the blocks behind go on as they do
    counts = refitted(schedule, masked([2, 3, *range(4, 12)], 12), step=0)
    assert counts == [1, 1, 0, 0] + [1] * 8


def test_filled_here_and_masked_there() -> None:
    schedule = blocks([1, 1, 1, 1], 4)
    # At step 4 the second block is filled by hand and the first is masked again: as many masks as
    # the schedule has left commits, and the first four of them are in reach.
    counts = refitted(schedule, masked([0, 1, 2, 3, 8, 9, 10, 11], 12), step=4)
    assert counts[4:] == [1] * 8


@pytest.mark.parametrize("seed", range(40))
def test_every_mask_is_committed_within_reach(seed: int) -> None:
    rng = np.random.default_rng(seed)
    length, n_blocks, per_block = rng.integers(1, 7), rng.integers(1, 5), rng.integers(1, 7)
    base, extra = divmod(int(length), int(per_block))
    counts = [base + (i < extra) for i in range(per_block)] * int(n_blocks)
    ends = [int(length) * (step // int(per_block) + 1) for step in range(len(counts))]
    step = int(rng.integers(0, len(counts)))
    canvas = rng.random(int(length * n_blocks)) < rng.random()

    result = refitted(Reach(counts, ends), canvas, step=step)
    assert result[:step] == [0] * step
    assert sum(result) == canvas.sum()
    committed = 0
    for now in range(step, len(counts)):
        assert 0 <= result[now] <= canvas[: ends[now]].sum() - committed
        committed += result[now]


FIXED: list[tuple[str, dict[str, Any]]] = [
    ("llada", {"block_length": 4}),
    ("llada", {"block_length": 12, "steps": 5}),
    ("llada", {"block_length": 6, "steps": 24, "temperature": 0.8}),
    ("llada", {"block_length": 4, "steps": 6, "remasking": "random"}),
    ("dream", {"alg": "origin"}),
    ("dream", {"alg": "entropy", "steps": 7}),
    ("dream", {"alg": "maskgit_plus", "steps": 24, "alg_temp": 0.5}),
    ("dream", {"alg": "topk_margin", "steps": 5}),
    ("rnd1", {"steps": 7}),
    ("rnd1", {"steps": 24}),
    ("prophet", {"block_length": 4, "gap_early": 99.0, "gap_middle": 99.0, "gap_late": 99.0}),
]
FREE = {"threshold", "factor", "entropy_bound", "entropy_threshold", "klass", "margin"}
NOT_WALKED = np.zeros(0, bool)
Packed = Callable[..., dict[str, dict[str, Any]]]


def test_every_policy_is_tried_or_ends_by_itself() -> None:
    assert {name for name, _ in FIXED} | FREE == set(policies_for(blocks=False))


@pytest.mark.parametrize(("policy", "options"), FIXED, ids=lambda part: str(part))
def test_no_mask_is_left_and_nothing_commits_twice(
    policy: str,
    options: dict[str, Any],
    random_model: MaskedDiffusionModel,
    packed: Packed,
    prompts_of: Callable[..., list[Prompt]],
) -> None:
    settings = {"gen_length": 12, "steps": 12, "save_logits": "none"} | options
    config = RunConfig.of(model="test", policy=policy, **settings)
    mask = random_model.token_ids.mask
    parents = packed(random_model, config, prompts_of(random_model, 12))
    rng = np.random.default_rng(5)
    prompts = []
    for prompt in prompts_of(random_model, 12):
        canvases = np.concatenate(
            [np.full((1, 12), mask), parents[prompt.problem.id]["token"]], axis=0
        )
        for step in range(config.steps):
            token = canvases[step].copy()
            again = rng.random(12) < rng.choice([0.2, 1.0])
            token[again] = mask
            if step % 3 == 0:
                filled = rng.random(12) < 0.4
                token[filled] = canvases[-1][filled]
            if not (token == mask).any():
                continue
            start = Start(step, token, canvases[step:step], NOT_WALKED, is_changed=True)
            name = f"{prompt.problem.id}@{step}"
            problem = prompt.problem.__class__(name, prompt.problem.question, None)
            prompts.append(prompt._replace(problem=problem, start=start))

    finished = packed(random_model, config, prompts)
    assert len(finished) == len(prompts) > 20
    for prompt in prompts:
        columns = finished[prompt.problem.id]
        start = prompt.start
        assert start is not None
        open_at_first = start.token == mask
        assert not (columns["token"][-1] == mask).any()
        committed = np.where(columns["committed"] == 1, 1, 0)
        assert committed.sum(0).tolist() == open_at_first.astype(int).tolist()
        held = columns["token"][-1][~open_at_first]
        assert held.tolist() == start.token[~open_at_first].tolist()
