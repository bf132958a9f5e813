"""The published loops of SDAR and LLaDA2 written out slowly: one problem, no cache, one position
after the other. Only the noise is ours, from the same counters.

Of their faults none is here: a step commits no more than there are masks, the mask token is never
proposed, and SDAR's entropy bound is that of Ben-Hamu et al. 2025. Shapes: K tokens of a block.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
from torch import Tensor

from diffengine.kernels.noise import token_noise
from diffengine.kernels.reference import logit_stats


@dataclass
class Seen:
    """What a pass says at one place of the block: the proposed token, its probability, and the
    entropy of the model's own distribution in nats."""

    token: int
    p: float
    entropy: float


class Step(NamedTuple):
    """One step: the generated tokens after it, and which of them it wrote over masks and over
    tokens, all by generated position."""

    block: int
    tokens: list[int]
    committed: set[int]
    revised: set[int]


class Masks:
    """The masks of a block, and orders of them."""

    def __init__(self, block: Sequence[int], seen: Sequence[Seen], mask: int) -> None:
        self.places = [place for place, token in enumerate(block) if token == mask]
        self.seen = seen

    def surest(self, count: int) -> set[int]:
        order = sorted(self.places, key=lambda place: (-self.seen[place].p, place))
        return set(order[:count])

    def above(self, threshold: float) -> set[int]:
        return {place for place in self.places if self.seen[place].p > threshold}

    def within(self, bound: float) -> set[int]:
        order = sorted(self.places, key=lambda place: (self.seen[place].entropy, place))
        n = 1
        while n < len(order):
            entropies = [self.seen[place].entropy for place in order[: n + 1]]
            if sum(entropies) - max(entropies) > bound:
                break
            n += 1
        return set(order[:n])


def due(length: int, steps: int, step: int) -> int:
    """How many of `length` tokens the schedule gives to a step."""
    base, rest = divmod(length, steps)
    return base + (step < rest)


def sdar_commits(
    block: Sequence[int], seen: Sequence[Seen], step: int, options: Any, mask: int
) -> set[int]:
    """The places that a step writes."""
    masks = Masks(block, seen, mask)
    steps = options.denoising_steps or options.block_length
    count = due(options.block_length, steps, step)
    if options.remasking_strategy == "sequential":
        return set(masks.places[:count])
    if options.remasking_strategy == "entropy_bounded":
        return masks.within(options.entropy_bound)
    if options.remasking_strategy == "low_confidence_dynamic":
        high = masks.above(options.confidence_threshold)
        if len(high) >= count:
            return high
    return masks.surest(count)


def llada2_commits(
    block: Sequence[int], seen: Sequence[Seen], step: int, options: Any, mask: int
) -> set[int]:
    """The masks that a step writes."""
    masks = Masks(block, seen, mask)
    count = options.num_to_transfer
    if count is None:
        steps = options.steps_per_block or options.block_length
        steps = min(steps, options.gen_length // options.minimal_topk)
        count = due(options.block_length, steps, min(step, steps - 1))
    high = masks.above(options.threshold)
    return high if len(high) >= count else masks.surest(count)


def llada2_edits(
    block: Sequence[int], seen: Sequence[Seen], first: int, options: Any, mask: int
) -> set[int]:
    """The tokens that a step writes over, none of the `first` ones, which are the prompt's."""
    edits = set()
    for place in range(first, len(block)):
        holds = block[place] != mask
        if holds and seen[place].p > options.editing_threshold:
            if seen[place].token != block[place]:
                edits.add(place)
    return edits


LogitsOf = Callable[[list[int], int], Tensor]
"""Logits [K, V] of the last block, of a row's tokens so far and the block's first place."""


class Row:
    """A row of a prompt and its masks, in whole blocks from the prompt's first token."""

    def __init__(
        self, prompt: Sequence[int], key: int, options: Any, logits_of: LogitsOf, mask: int
    ) -> None:
        self.prompt_length = len(prompt)
        self.key = key
        self.options = options
        self.logits_of = logits_of
        self.mask = mask
        length = options.block_length
        self.n_blocks = math.ceil((len(prompt) + options.gen_length) / length)
        self.x = [*prompt, *[mask] * (self.n_blocks * length - len(prompt))]
        self.steps: list[Step] = []

    @property
    def blocks(self) -> range:
        return range(self.prompt_length // self.options.block_length, self.n_blocks)

    def open(self, number: int) -> list[int]:
        length = self.options.block_length
        return self.x[number * length : (number + 1) * length]

    def first_of(self, number: int) -> int:
        """How many of the block's tokens are the prompt's."""
        return max(self.prompt_length - number * self.options.block_length, 0)

    def look(self, number: int) -> list[Seen]:
        """One pass, and what it says of the block."""
        start = number * self.options.block_length
        stop = start + self.options.block_length
        logits = self.logits_of(self.x[:stop], start).float()
        entropy = (logit_stats(logits).entropy.double() * math.log(2)).tolist()
        token, p = self._sampled(logits, start)
        return [Seen(*each) for each in zip(token, p, entropy, strict=True)]

    def _sampled(self, logits: Tensor, start: int) -> tuple[list[int], list[float]]:
        allowed = logits.clone()
        allowed[:, self.mask] = -math.inf
        if self.options.temperature == 0:
            token = allowed.argmax(-1)
            p = logits.softmax(-1)[torch.arange(len(logits)), token]
            return token.tolist(), p.tolist()
        allowed /= self.options.temperature
        if self.options.top_k > 0:
            least = allowed.topk(self.options.top_k).values[:, -1:]
            allowed[allowed < least] = -math.inf
        if self.options.top_p < 1:
            keep_most_probable(allowed, self.options.top_p)
        counter = [
            [self.key, max(start + place - self.prompt_length, 0), len(self.steps)]
            for place in range(len(logits))
        ]
        noise = token_noise(
            torch.tensor(counter), vocabulary=logits.shape[1], seed=self.options.seed
        )
        token = (allowed.double() - noise.log()).argmax(-1)
        p = allowed.softmax(-1)[torch.arange(len(logits)), token]
        return token.tolist(), p.tolist()

    def write(self, number: int, seen: Sequence[Seen], commits: set[int], edits: set[int]) -> None:
        start = number * self.options.block_length
        for place in commits | edits:
            self.x[start + place] = seen[place].token
        n = self.prompt_length
        generated = self.x[n : n + self.options.gen_length]
        kept = range(len(generated))
        committed = {start + place - n for place in commits} & set(kept)
        revised = {start + place - n for place in edits} & set(kept)
        block = number - self.blocks.start
        self.steps.append(Step(block, generated, committed, revised))

    def holds(self, token: int, number: int) -> bool:
        """Whether what is generated up to the end of the block holds the token."""
        return token in self.x[self.prompt_length : (number + 1) * self.options.block_length]


def keep_most_probable(logits: Tensor, top_p: float) -> None:
    """-inf for the tokens behind the first that brings the mass above `top_p`."""
    for row in logits:
        order = sorted(range(len(row)), key=lambda token: (-float(row[token]), token))
        mass = row[order].softmax(-1).cumsum(-1)
        n_above = int((mass <= top_p).sum())
        row[order[n_above + 1 :]] = -math.inf


def sdar(row: Row, eos: int) -> list[Step]:
    """block_diffusion_generate of the published generate.py."""
    for number in row.blocks:
        for step in range(row.options.block_length):
            if row.mask not in row.open(number):
                break
            seen = row.look(number)
            commits = sdar_commits(row.open(number), seen, step, row.options, row.mask)
            row.write(number, seen, commits, set())
        if row.options.eos_early_stop and row.holds(eos, number):
            break
    return row.steps


def llada2(row: Row, eos: int) -> list[Step]:
    """`generate` of the published modeling_llada2_moe.py: of 2.0 without an editing threshold, of
    2.1 with one."""
    edits = row.options.editing_threshold is not None
    for number in row.blocks:
        post_steps, step = 0, 0
        while True:
            block = row.open(number)
            filled = row.mask not in block
            if filled:
                if not edits:
                    break
                post_steps += 1
            if post_steps > row.options.max_post_steps:
                break
            seen = row.look(number)
            commits = set()
            if not filled:
                commits = llada2_commits(block, seen, step, row.options, row.mask)
            edited = set()
            if edits:
                first = row.first_of(number)
                edited = llada2_edits(block, seen, first, row.options, row.mask)
            row.write(number, seen, commits, edited)
            step += 1
            if filled and not edited:
                break
        if row.options.eos_early_stop and row.holds(eos, number):
            break
    return row.steps
