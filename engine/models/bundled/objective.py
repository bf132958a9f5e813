"""Training batches for the bundled model: rows of tokens, what is masked in them and how much each
mask weighs.

The objective is LLaDA's (Nie et al. 2025, eq. 3) in its low-variance form: instead of t ~ U(0,1]
and 1/t, a count k ~ U{1..L} of the L response positions is masked and the mean cross-entropy over
the k is taken, which has the same expectation. Padding with <|endoftext|> is part of the response,
as in LLaDA's fine-tuning, so no row needs an attention mask. Two departures, both named in the
README beside the checkpoint:

- `block`: a share of rows shows the states of block-wise decoding: everything before a block done,
  everything after it masked, the loss inside the block.
- `sums`: a share of rows is five equations with their results masked, because word problems alone
  give only two results in eighty tokens and arithmetic is what is learnt last.

Every pool of batches is a pure function of (seed, pool index), so an interrupted training resumes
exactly. Shapes: B rows, T tokens.
"""

from __future__ import annotations

import itertools
import random
from collections.abc import Mapping
from typing import NamedTuple

import numpy as np
import torch
from tokenizers import Tokenizer

from .generator import WordProblem, word_problems
from .tokenizer import EOS, EOT, MASK, prompt_text

POOL_BATCHES = 8
RESPONSE_ROOM = 48
LONG_RESPONSE_ROOM = 64
LONG_SHARE = 0.1
SHARES = {"plain": 0.25, "block": 0.5, "sums": 0.25}
BLOCK_LENGTHS = (4, 8, 16)
SUMS_PROMPT = "Work out these."
SUMS_PER_ROW = 5
RESULT_MASKED = 0.85
OTHER_MASKED = 0.05


class Batch(NamedTuple):
    """`input_ids` and `target_ids` [B, T]; `weight` [B, T] sums to one over each row's masked
    positions."""

    input_ids: torch.Tensor
    target_ids: torch.Tensor
    weight: torch.Tensor


class TrainingRow(NamedTuple):
    """One row before it is masked. `results`: positions of the response that hold the result of a
    sum, in a row of bare equations."""

    kind: str
    prompt: list[int]
    response: list[int]
    results: list[int]


def training_rows(
    problems: list[WordProblem],
    tokenizer: Tokenizer,
    rng: np.random.Generator,
    *,
    shares: Mapping[str, float] = SHARES,
) -> list[TrainingRow]:
    """A row for each problem, its kind drawn by `shares`; those of kind "sums" are equations of all
    problems instead."""
    kinds = rng.choice(list(shares), size=len(problems), p=list(shares.values()))
    equations = [line.split(" ")[0] for p in problems for line in p.solution.split("\n")[:-1]]
    questions = []
    answers = []
    for kind, problem in zip(kinds, problems, strict=True):
        picks = [equations[i] for i in rng.integers(len(equations), size=SUMS_PER_ROW)]
        questions.append(prompt_text(SUMS_PROMPT if kind == "sums" else problem.question))
        answers.append("\n".join(picks) if kind == "sums" else problem.solution)
    prompts = tokenizer.encode_batch_fast(questions)
    responses = tokenizer.encode_batch(answers)
    rows = []
    for kind, prompt, response, text in zip(kinds, prompts, responses, answers, strict=True):
        results = []
        if kind == "sums":
            inside = {i for i, after in _result_characters(text) if after}
            results = [t for t, (start, _) in enumerate(response.offsets) if start in inside]
        rows.append(TrainingRow(str(kind), prompt.ids, [*response.ids, EOT], results))
    return rows


def _result_characters(text: str) -> list[tuple[int, bool]]:
    after = False
    marks = []
    for i, char in enumerate(text):
        after = (after or char == "=") and char != "\n"
        marks.append((i, after and char != "="))
    return marks


def _mask_row(
    row: TrainingRow, length: int, quantile: float, rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray]:
    """Masked positions and positions with a loss, both [length] booleans over the padded
    response."""
    masked = np.zeros(length, bool)
    if row.kind == "plain":
        count = 1 + int(quantile * length)
        masked[rng.permutation(length)[:count]] = True
        return masked, masked
    if row.kind == "block":
        size = int(rng.choice(BLOCK_LENGTHS))
        start = size * int(rng.integers(len(row.response) // size + 1))
        inside = min(size, length - start)
        masked[start + rng.permutation(inside)[: 1 + int(quantile * inside)]] = True
        loss = masked.copy()
        masked[start + inside :] = True
        return masked, loss
    chance = np.full(length, OTHER_MASKED)
    chance[row.results] = RESULT_MASKED
    masked = rng.random(length) < chance
    masked[row.results[0]] = True
    return masked, masked


def _collate(rows: list[TrainingRow], rng: np.random.Generator) -> Batch:
    room = LONG_RESPONSE_ROOM if rng.random() < LONG_SHARE else RESPONSE_ROOM
    width = max(len(row.prompt) for row in rows) + room
    target = np.full((len(rows), width), EOS, np.int64)
    masked = np.zeros(target.shape, bool)
    weight = np.zeros(target.shape, np.float32)
    # Stratified: the k of a batch cover 1..L evenly, which takes their share out of the loss's
    # variance.
    quantiles = rng.permutation((np.arange(len(rows)) + rng.random(len(rows))) / len(rows))
    for i, row in enumerate(rows):
        start = len(row.prompt)
        filled = len(row.prompt) + len(row.response)
        if filled > width:
            raise ValueError(
                f"a response of {len(row.response)} tokens does not fit the room of {room}"
            )
        target[i, :filled] = row.prompt + row.response
        masked[i, start:], loss = _mask_row(row, width - start, quantiles[i], rng)
        weight[i, start:] = loss / loss.sum()
    inputs = np.where(masked, MASK, target)
    return Batch(torch.from_numpy(inputs), torch.from_numpy(target), torch.from_numpy(weight))


def batch_pool(tokenizer: Tokenizer, *, seed: int, pool: int, batch_size: int) -> list[Batch]:
    """The `POOL_BATCHES` batches of pool number `pool`; rows of like prompt length share a batch,
    in random order."""
    rng = np.random.default_rng([seed, pool])
    stream = word_problems(f"train {seed} {pool}", held_out=False)
    problems = list(itertools.islice(stream, POOL_BATCHES * batch_size))
    rows = training_rows(problems, tokenizer, rng)
    rows.sort(key=lambda row: len(row.prompt))
    batches = [_collate(rows[i : i + batch_size], rng) for i in range(0, len(rows), batch_size)]
    random.Random(f"order {seed} {pool}").shuffle(batches)
    return batches


def validation_batches(tokenizer: Tokenizer, *, n: int, batch_size: int) -> list[Batch]:
    """`n` fixed held-out problems under the plain objective: the validation loss, comparable
    between runs."""
    rng = np.random.default_rng(0)
    rows = validation_rows(tokenizer, n=n)
    rows.sort(key=lambda row: len(row.prompt))
    return [_collate(rows[i : i + batch_size], rng) for i in range(0, n, batch_size)]


def validation_rows(tokenizer: Tokenizer, *, n: int) -> list[TrainingRow]:
    """Rows of `n` fixed held-out problems."""
    problems = list(itertools.islice(word_problems("validation", held_out=True), n))
    prompts = tokenizer.encode_batch_fast([prompt_text(p.question) for p in problems])
    responses = tokenizer.encode_batch_fast([p.solution for p in problems])
    return [
        TrainingRow("plain", p.ids, [*r.ids, EOT], [])
        for p, r in zip(prompts, responses, strict=True)
    ]
