"""LLaDA2's rules against a second implementation that others published: diffusers'
BlockRefinementScheduler, on random logits with planted ties.

Where they differ by definition the test says so: of equal scores theirs takes those that torch.topk
happens to take, ours the first; an editing threshold of 0 edits nothing there and everything here,
as in the authors' own code; theirs may propose the mask token.
"""

from __future__ import annotations

import random
from collections.abc import Iterator

import pytest
import torch
from diffusers.schedulers.scheduling_block_refinement import BlockRefinementScheduler
from torch import Tensor

from .block_steps import MASK, VOCABULARY, Open, canvas_of, policy_of, step_of

B = 24


def cases(seed: int, n: int, length: int) -> Iterator[tuple[Tensor, list[Open], int]]:
    """Logits [B, K, V] of every sharpness, half of them with rows that are equal; blocks with any
    number of masks, all with one tail; and a step. No row prefers the mask token, and every other
    token is what the model would put there."""
    draw = random.Random(seed)
    generator = torch.Generator().manual_seed(seed)
    for case in range(n):
        logits = torch.randn(B, length, VOCABULARY, generator=generator)
        logits *= 6 * torch.rand(B, length, 1, generator=generator)
        if case % 2:
            source = torch.randint(0, 3, (B, length), generator=generator)
            logits = logits.gather(1, source[:, :, None].expand(-1, -1, VOCABULARY))
        logits[:, :, MASK] = -30.0
        tail = draw.randrange(length)
        blocks = []
        for row in range(B):
            share = draw.random() * (row % 4 > 0)
            best = logits[row].argmax(-1).tolist()
            tokens = [draw.choice((token, draw.randrange(MASK))) for token in best]
            masks = [place >= tail and draw.random() < share for place in range(length)]
            tokens = [MASK if m else token for m, token in zip(masks, tokens, strict=True)]
            blocks.append(Open(tokens, tail))
        yield logits, blocks, draw.randrange(length)


def at_step(blocks: list[Open], step: int) -> list[Open]:
    return [block._replace(steps=step) for block in blocks]


def assert_same_but_for_ties(ours: Tensor, theirs: Tensor, score: Tensor) -> None:
    """Equal sets in each row [B, K], or equal in what they score where equals stood at the end."""
    assert torch.equal(ours.sum(-1), theirs.sum(-1))
    for row in range(len(ours)):
        mine = score[row][ours[row]].sort().values
        other = score[row][theirs[row]].sort().values
        torch.testing.assert_close(mine, other, rtol=0, atol=1e-6)


def one_of(confidences: Tensor, index: int) -> float:
    """Every other threshold is a confidence of the case, so that some lie on it."""
    flat = confidences.flatten()
    return float(flat[index % len(flat)]) if index % 2 else (index % 50) / 50


@pytest.mark.parametrize("length", [4, 8, 32])
@pytest.mark.parametrize("steps", ["one for each token", "three"])
def test_commits_are_diffusers(length: int, steps: str) -> None:
    n_steps = 3 if steps == "three" else length
    scheduler = BlockRefinementScheduler(block_length=length)
    scheduler.set_timesteps(n_steps)
    n_high = n_forced = n_clamped = n_on_it = 0
    for index, (logits, blocks, step) in enumerate(cases(length, 80, length)):
        threshold = one_of(logits.softmax(-1).amax(-1), index)
        policy = policy_of(
            "llada2", block_length=length, steps_per_block=n_steps, threshold=threshold
        )
        canvas = canvas_of(at_step(blocks, step))
        update, proposal = step_of(policy, canvas, logits)
        _, theirs, _, token, _, _ = scheduler.step(
            logits,
            step,
            canvas.generated,
            mask_token_id=MASK,
            threshold=threshold,
            return_dict=False,
        )
        confidence = proposal.confidence.view(B, length)
        assert torch.equal(update.token, token)
        assert_same_but_for_ties(update.commit, theirs, confidence)
        masked = canvas.generated == MASK
        assert update.revised is None and not (update.commit & ~masked).any()

        due = int(scheduler._transfer_schedule[min(step, n_steps - 1)])
        high = (masked & (confidence > threshold)).sum(-1)
        some = masked.any(-1)
        n_high += int((high > due).sum())
        n_forced += int((some & (high < due) & (masked.sum(-1) > due)).sum())
        n_clamped += int((some & (masked.sum(-1) < due)).sum())
        n_on_it += int((masked & (confidence == threshold)).sum())
    assert n_high > 100 and n_forced > 100 and n_on_it > 10
    assert n_clamped > 50 or steps != "three"


@pytest.mark.parametrize("length", [4, 32])
def test_edits_are_diffusers(length: int) -> None:
    """In every step, whether or not masks remain, and never in the prompt's tail."""
    scheduler = BlockRefinementScheduler(block_length=length)
    scheduler.set_timesteps(length)
    n_beside_masks = n_full = n_kept_tail = n_on_it = 0
    for index, (logits, blocks, step) in enumerate(cases(100 + length, 160, length)):
        editing = max(one_of(logits.softmax(-1).amax(-1), index), 0.02)
        policy = policy_of("llada2", block_length=length, threshold=0.9, editing_threshold=editing)
        canvas = canvas_of(at_step(blocks, step))
        update, proposal = step_of(policy, canvas, logits)
        tail = torch.arange(length) < blocks[0].tail
        _, committed, edited, _, _, _ = scheduler.step(
            logits,
            step,
            canvas.generated,
            mask_token_id=MASK,
            threshold=0.9,
            editing_threshold=editing,
            prompt_mask=tail,
            return_dict=False,
        )
        assert update.revised is not None
        assert torch.equal(update.revised, edited)
        confidence = proposal.confidence.view(B, length)
        assert_same_but_for_ties(update.commit, committed, confidence)

        masked = canvas.generated == MASK
        others = (update.token != canvas.generated) & ~masked
        n_beside_masks += int((edited & masked.any(-1)[:, None]).sum())
        n_full += int((edited & ~masked.any(-1)[:, None]).sum())
        n_kept_tail += int((others & tail & (confidence > editing)).sum())
        n_on_it += int((others & ~tail & (confidence == editing)).sum())
    assert min(n_beside_masks, n_full, n_kept_tail) > 100 and n_on_it > 10


@pytest.mark.parametrize("length", [4, 8])
def test_blocks_end_where_diffusers_ends_them(length: int) -> None:
    """While masks remain the published loop goes on in any case; without, as diffusers' does with a
    limit that is one lower: it looks at it after the pass, the authors' code before."""
    scheduler = BlockRefinementScheduler(block_length=length)
    scheduler.set_timesteps(length)
    seen = {True: 0, False: 0}
    for _, (logits, blocks, _) in enumerate(cases(7, 60, length)):
        for limit in (1, 3):
            full = [
                block._replace(steps=6, full_steps=index % (limit + 1))
                for index, block in enumerate(blocks)
                if MASK not in block.tokens and index % (limit + 1) < limit
            ]
            if not full:
                continue
            policy = policy_of(
                "llada2",
                block_length=length,
                editing_threshold=0.5,
                max_post_steps=limit,
            )
            canvas = canvas_of(full)
            some = logits[: len(full)]
            update, _ = step_of(policy, canvas, some)
            assert update.revised is not None and update.closed is not None
            for row, block in enumerate(full):
                goes_on = scheduler.check_block_should_continue(
                    step_idx=7,
                    masks_remaining=False,
                    editing_enabled=True,
                    editing_transfer_index=update.revised[row],
                    post_steps=block.full_steps + 1,
                    max_post_steps=limit - 1,
                    finished=torch.zeros(1, dtype=torch.bool),
                )
                assert bool(update.closed[row]) is not goes_on
                seen[goes_on] += 1
    assert min(seen.values()) > 30


def test_an_editing_threshold_of_0_edits_whatever_changes() -> None:
    logits, blocks, _ = next(cases(3, 1, 8))
    canvas = canvas_of(blocks)
    policy = policy_of("llada2", block_length=8, editing_threshold=0.0)
    update, _ = step_of(policy, canvas, logits)
    held = (canvas.generated != MASK) & (torch.arange(8) >= blocks[0].tail)
    assert update.revised is not None and update.revised.any()
    assert torch.equal(update.revised, held & (logits.argmax(-1) != canvas.generated))
