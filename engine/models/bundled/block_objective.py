"""Training batches for the bundled block model: what block diffusion learns from.

The objective is block diffusion's (Arriola et al. 2025, eq. 8) as SDAR trains it: a row goes
through the network once clean and once noisy, end to end; a noisy block sees itself and the clean
blocks before it, a clean block itself and those before it, so that all blocks of a row are learnt
in one pass. Blocks are counted from the first token of the prompt, so the first noisy one may begin
with the prompt's tail, which is never masked. Of each block k ~ U{1..n} of its n response positions
are masked and the mean cross-entropy over the k is taken, as in `objective.py`; one departure is
shared with it: a quarter of the rows are bare equations with their results masked.

Shapes: B rows, T clean tokens, N noisy ones, which repeat the last N of the T.
"""

from __future__ import annotations

import itertools
import random
from typing import NamedTuple

import numpy as np
import torch
from tokenizers import Tokenizer

from .generator import word_problems
from .objective import (
    OTHER_MASKED,
    POOL_BATCHES,
    RESULT_MASKED,
    TrainingRow,
    training_rows,
    validation_rows,
)
from .tokenizer import EOS, MASK

SHARES = {"plain": 0.75, "sums": 0.25}


class BlockBatch(NamedTuple):
    """`input_ids`, `target_ids` and `weight` [B, T + N]; `positions` [T + N]; `allowed` [T + N,
    T + N] says which tokens see which. `weight` sums to one over each row's masked positions."""

    input_ids: torch.Tensor
    target_ids: torch.Tensor
    weight: torch.Tensor
    positions: torch.Tensor
    allowed: torch.Tensor


def seen_by(n_clean: int, first_noisy: int, block_length: int) -> np.ndarray:
    """Which of T + N tokens see which: [query, key], the noisy ones repeating the clean ones from
    `first_noisy` on."""
    positions = np.concatenate([np.arange(n_clean), np.arange(first_noisy, n_clean)])
    block = positions // block_length
    noisy = np.arange(len(positions)) >= n_clean
    query = block[:, None]
    key = block[None, :]
    from_clean = ~noisy[None, :] & np.where(noisy[:, None], key < query, key <= query)
    seen: np.ndarray = from_clean | (noisy[:, None] & noisy[None, :] & (key == query))
    return seen


def _mask_blocks(
    row: TrainingRow, width: int, block_length: int, rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray]:
    """Masked positions [width] of a row, and the weight [width] of each one's loss: what fills its
    last block with ends of text is learnt, and what comes behind that is not."""
    start = len(row.prompt)
    end = start + len(row.response)
    learnt = min(width, -(-(end + 1) // block_length) * block_length)
    masked = np.zeros(width, bool)
    weight = np.zeros(width)
    for first in range(start // block_length * block_length, learnt, block_length):
        inside = np.arange(max(first, start), min(first + block_length, learnt))
        if row.kind == "plain":
            count = 1 + int(rng.integers(len(inside)))
            chosen = rng.permutation(inside)[:count]
        else:
            is_result = np.isin(inside - start, row.results)
            chance = np.where(is_result, RESULT_MASKED, OTHER_MASKED)
            chosen = inside[rng.random(len(inside)) < chance]
        if len(chosen):
            masked[chosen] = True
            weight[chosen] = len(inside) / len(chosen)
    if not masked.any():
        masked[start + row.results[0]] = True
        weight[start + row.results[0]] = 1
    return masked, weight / weight.sum()


def _collate(rows: list[TrainingRow], block_length: int, rng: np.random.Generator) -> BlockBatch:
    longest = max(len(row.prompt) + len(row.response) for row in rows)
    width = -(-(longest + 1) // block_length) * block_length
    first_noisy = min(len(row.prompt) for row in rows) // block_length * block_length
    clean = np.full((len(rows), width), EOS, np.int64)
    noisy = np.empty_like(clean)
    weight = np.zeros(clean.shape, np.float32)
    for i, row in enumerate(rows):
        ids = [*row.prompt, *row.response]
        clean[i, : len(ids)] = ids
        masked, weight[i] = _mask_blocks(row, width, block_length, rng)
        noisy[i] = np.where(masked, MASK, clean[i])
    no_weight = np.zeros_like(weight)
    positions = np.concatenate([np.arange(width), np.arange(first_noisy, width)])

    def both(of_clean: np.ndarray, of_noisy: np.ndarray) -> torch.Tensor:
        return torch.from_numpy(np.concatenate([of_clean, of_noisy[:, first_noisy:]], axis=1))

    return BlockBatch(
        both(clean, noisy),
        both(clean, clean),
        both(no_weight, weight),
        torch.from_numpy(positions),
        torch.from_numpy(seen_by(width, first_noisy, block_length)),
    )


def _length(row: TrainingRow) -> int:
    return len(row.prompt) + len(row.response)


def block_batch_pool(
    tokenizer: Tokenizer, *, block_length: int, seed: int, pool: int, batch_size: int
) -> list[BlockBatch]:
    """The `POOL_BATCHES` batches of pool number `pool`; rows of like length share a batch, in
    random order."""
    rng = np.random.default_rng([seed, pool])
    stream = word_problems(f"train {seed} {pool}", held_out=False)
    problems = list(itertools.islice(stream, POOL_BATCHES * batch_size))
    rows = sorted(training_rows(problems, tokenizer, rng, shares=SHARES), key=_length)
    batches = [
        _collate(rows[i : i + batch_size], block_length, rng)
        for i in range(0, len(rows), batch_size)
    ]
    random.Random(f"order {seed} {pool}").shuffle(batches)
    return batches


def block_validation_batches(
    tokenizer: Tokenizer, *, block_length: int, n: int, batch_size: int
) -> list[BlockBatch]:
    """`n` fixed held-out problems under the plain objective, comparable between runs of one block
    length."""
    rng = np.random.default_rng(0)
    rows = sorted(validation_rows(tokenizer, n=n), key=_length)
    return [_collate(rows[i : i + batch_size], block_length, rng) for i in range(0, n, batch_size)]
