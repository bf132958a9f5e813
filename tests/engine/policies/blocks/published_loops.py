"""The published loops of A2D's bd3lm, Fast-dLLM v2 and Nemotron written out slowly: one problem, no
cache, a pass over the whole row in each step, one position after the other. Only the noise is ours,
from the same counters; and the mask token is never proposed.

Shapes: N tokens of a row so far, K tokens of a block, V vocabulary.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

from diffengine.kernels.noise import position_noise, token_noise

from .block_twin import Step, keep_most_probable

LogitsOf = Callable[[list[int], int], Tensor]
"""Logits [N, V] of all of a row's tokens, where the block at this place is open."""


class Line:
    """One row: what it holds so far, and what its steps wrote."""

    def __init__(
        self, prompt: Sequence[int], key: int, options: Any, logits_of: LogitsOf, mask: int
    ) -> None:
        self.x = list(prompt)
        self.prompt_length = len(prompt)
        self.key = key
        self.options = options
        self.logits_of = logits_of
        self.mask = mask
        self.steps: list[Step] = []

    def masks(self, first: int, end: int) -> list[int]:
        return [place for place in range(first, end) if self.x[place] == self.mask]

    def write(self, block: int, tokens: dict[int, int]) -> None:
        """The end of a step: tokens by their place in the row."""
        for place, token in tokens.items():
            self.x[place] = token
        length = self.options.gen_length
        generated = self.x[self.prompt_length :][:length]
        generated += [self.mask] * (length - len(generated))
        committed = {place - self.prompt_length for place in tokens} & set(range(length))
        self.steps.append(Step(block, generated, committed, set()))

    def ended(self, first: int, eos: int) -> bool:
        """Whether what is generated from this place on holds the end, and that is the row's."""
        return self.options.eos_early_stop and eos in self.x[max(first, self.prompt_length) :]

    def counter(self, place: int) -> Tensor:
        return torch.tensor([[self.key, max(place - self.prompt_length, 0), len(self.steps)]])

    def drawn(self, logits: Tensor, place: int) -> int:
        """A token of logits [V] that are divided and cut already."""
        noise = token_noise(self.counter(place), vocabulary=len(logits), seed=self.options.seed)
        return int((logits.double() - noise[0].log()).argmax())

    def proposed(self, logits: Tensor, place: int) -> int:
        """The likeliest token but the mask; at a temperature one that is drawn."""
        allowed = logits.clone()
        allowed[self.mask] = -math.inf
        if self.options.temperature == 0:
            return int(allowed.argmax())
        return self.drawn(allowed / self.options.temperature, place)


def published_counts(masks: int, steps: int) -> list[int]:
    """get_num_transfer_tokens of dllm with its linear schedule: times and the share that stays in
    float32, the product in float64, rounded half to even."""
    counts = []
    left = torch.tensor(masks)
    for number in range(steps, 0, -1):
        t = torch.tensor(number / steps, dtype=torch.float32)
        s = torch.tensor((number - 1) / steps, dtype=torch.float32)
        alpha_t, alpha_s = 1 - t, 1 - s
        stays = ((1 - alpha_s) / (1 - alpha_t)).item()
        count = torch.round(left.to(torch.float64) * (1 - stays)).to(torch.int64)
        count = torch.minimum(count, left)
        counts.append(int(count))
        left = left - count
    return [count for count in counts if count > 0]


def bd3lm_commits(masks: Sequence[int], sure: Sequence[float], count: int) -> set[int]:
    """Places of the `count` surest of these masks; `sure` by place."""
    order = sorted(masks, key=lambda place: (-sure[place], place))
    return set(order[:count])


def bd3lm(line: Line, eos: int) -> list[Step]:
    """BD3LMSampler.sample; the prompt's end is a border, and the last block may be short."""
    options = line.options
    length = options.block_length
    for block in range(math.ceil(options.gen_length / length)):
        first = len(line.x)
        line.x += [line.mask] * min(length, options.gen_length - block * length)
        for count in published_counts(len(line.x) - first, options.steps_per_block or length):
            logits = line.logits_of(line.x, first)
            sure = [0.0] * len(line.x)
            token = {}
            for place in line.masks(first, len(line.x)):
                token[place] = line.proposed(logits[place], place)
                sure[place] = float(logits[place].softmax(-1)[token[place]])
                if options.remasking == "random":
                    noise = position_noise(line.counter(place), seed=options.seed)
                    sure[place] = float(noise)
            commits = bd3lm_commits(list(token), sure, count)
            line.write(block, {place: token[place] for place in commits})
        if line.ended(first, eos):
            break
    return line.steps


def fast_dllm_v2_commits(masks: Sequence[int], sure: Sequence[float], threshold: float) -> set[int]:
    """Places of those of a part's masks that are sure enough, and the surest; `sure` by place."""
    surest = min(masks, key=lambda place: (-sure[place], place))
    return {surest} | {place for place in masks if sure[place] > threshold}


def fast_dllm_v2(line: Line, eos: int) -> list[Step]:
    """batch_sample without its cache within a block: blocks from the row's first token, each with
    its parts; a block's first token comes from the last state before it."""
    options = line.options
    length, part = options.block_length, options.sub_block_length
    n_blocks = math.ceil((line.prompt_length + options.gen_length) / length)
    begins = line.prompt_length // length
    for number in range(begins, n_blocks):
        first = number * length
        if len(line.x) == first:
            last = line.logits_of(line.x, first - length)[-1].clone()
            last[line.mask] = -math.inf
            line.x.append(line.mask)
            line.write(number - begins, {first: int(last.argmax())})
        line.x += [line.mask] * (first + length - len(line.x))
        for begin in range(first, first + length, part):
            while line.masks(begin, begin + part):
                logits = line.logits_of(line.x, first)
                sure = [0.0] * len(line.x)
                token = {}
                for place in line.masks(begin, begin + part):
                    token[place], sure[place] = shaped_proposal(line, logits[place - 1], place)
                commits = fast_dllm_v2_commits(list(token), sure, options.threshold)
                line.write(number - begins, {place: token[place] for place in commits})
        if line.ended(first, eos):
            break
    return line.steps


def shaped_proposal(line: Line, logits: Tensor, place: int) -> tuple[int, float]:
    """A token of what top-k and top-p leave of logits [V], and its probability among that; at
    temperature 0 the likeliest with its own."""
    options = line.options
    if options.temperature == 0:
        token = line.proposed(logits, place)
        return token, float(logits.softmax(-1)[token])
    shaped = logits.clone()
    shaped[line.mask] = -math.inf
    shaped /= options.temperature
    if options.top_k > 0:
        shaped[shaped < shaped.topk(options.top_k).values[-1]] = -math.inf
    if options.top_p < 1:
        keep_most_probable(shaped[None], options.top_p)
    token = line.drawn(shaped, place)
    return token, float(shaped.softmax(-1)[token])


def nemotron_commits(
    masks: Sequence[int], sure: Sequence[float], step: int, options: Any
) -> set[int]:
    """Places of the masks that a step of a block reveals; `sure` by place, probabilities."""
    left = max((options.steps_per_block or options.block_length) - step, 1)
    order = sorted(masks, key=lambda place: (-sure[place], place))
    if options.strategy == "confidence_threshold":
        if left == 1:
            return set(masks)
        least = math.log(options.threshold)
        above = {place for place in masks if sure[place] > 0 and math.log(sure[place]) >= least}
        return above | {order[0]}
    count = math.ceil(len(masks) / left)
    return set(order[:count] if options.strategy == "low_confidence" else sorted(masks)[:count])


def nemotron(line: Line, eos: int) -> list[Step]:
    """vLLM's masked step on a canvas at the end of a causal context: the mask token is impossible
    before anything else, and how sure a token is is untempered."""
    options = line.options
    length = options.block_length
    for block in range(math.ceil(options.gen_length / length)):
        first = len(line.x)
        line.x += [line.mask] * length
        step = 0
        while line.masks(first, first + length):
            logits = line.logits_of(line.x, first).clone()
            logits[:, line.mask] = -math.inf
            sure = [0.0] * len(line.x)
            token = {}
            for place in line.masks(first, first + length):
                token[place] = line.proposed(logits[place], place)
                sure[place] = float(logits[place].softmax(-1)[token[place]])
            commits = nemotron_commits(list(token), sure, step, options)
            line.write(block, {place: token[place] for place in commits})
            step += 1
        if line.ended(first, eos):
            break
    return line.steps
