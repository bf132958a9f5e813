"""The rules of the parallel policies written out slowly: one problem, one position after the other,
dense logits.

Entropies come from the specification of the statistics, for where a model is sure their order is a
matter of its last bits; KL divergences and the gaps of logits are taken anew, in float64.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import torch

from diffengine.engine.config import RunConfig
from diffengine.engine.models.attention import packing_of
from diffengine.engine.models.loading import MaskedDiffusionModel
from diffengine.engine.prompts.prompt import Prompt
from diffengine.kernels.noise import token_noise
from diffengine.kernels.reference import logit_stats


@dataclass
class Masked:
    """What the model says at one masked position of the block. Divergences are of the last steps,
    the newest behind."""

    place: int
    confidence: float
    entropy: float
    margin: float
    divergences: list[float] = field(default_factory=list)


def by_confidence(seen: list[Masked]) -> list[Masked]:
    return sorted(seen, key=lambda position: (-position.confidence, position.place))


def by_entropy(seen: list[Masked]) -> list[Masked]:
    return sorted(seen, key=lambda position: (position.entropy, position.place))


def threshold(seen: list[Masked], options: Any) -> list[Masked]:
    first, *others = by_confidence(seen)
    return [first] + [p for p in others if p.confidence >= options.threshold]


def factor(seen: list[Masked], options: Any) -> list[Masked]:
    chosen: list[Masked] = []
    for n, position in enumerate(by_confidence(seen), start=1):
        fails = n > 1 and position.confidence < 1 - options.factor / (n + 1)
        if fails and not (options.take_last and n == len(seen)):
            break
        chosen.append(position)
    return chosen


def entropy_threshold(seen: list[Masked], options: Any) -> list[Masked]:
    first, *others = by_entropy(seen)
    return [first] + [p for p in others if p.entropy <= options.max_entropy]


def entropy_bound(seen: list[Masked], options: Any) -> list[Masked]:
    order = by_entropy(seen) if options.order == "entropy" else by_confidence(seen)
    n = 1
    while n < len(order):
        entropies = [position.entropy for position in order[: n + 1]]
        if sum(entropies) - max(entropies) > options.bound:
            break
        n += 1
    return order[:n]


def margin(seen: list[Masked], options: Any) -> list[Masked]:
    first, *others = sorted(seen, key=lambda position: (-position.margin, position.place))
    return [first] + [p for p in others if p.margin >= options.min_margin]


RULES: dict[str, Callable[[list[Masked], Any], list[Masked]]] = {
    "threshold": threshold,
    "factor": factor,
    "entropy_threshold": entropy_threshold,
    "entropy_bound": entropy_bound,
    "margin": margin,
}


def scheduled(seen: list[Masked], options: Any, at: int) -> list[Masked]:
    """LLaDA's schedule at the `at`-th step of a block; past its end one position a step."""
    base, rest = divmod(options.block_length, options.steps_per_block)
    count = base + (at < rest) if at < options.steps_per_block else base
    return by_confidence(seen)[: max(count, 1)]


def klass(seen: list[Masked], options: Any, at: int) -> list[Masked]:
    ready = []
    for position in seen:
        last = position.divergences[-options.history :]
        stable = at >= options.history - 1 and all(d < options.kl_threshold for d in last)
        if stable and position.confidence > options.confidence_threshold:
            ready.append(position)
    return ready or scheduled(seen, options, at)


def is_over(logits: torch.Tensor, options: Any, step: int) -> bool:
    """Prophet's end, after `step` + 1 of the steps."""
    start = options.answer_start
    if start is None:
        start = options.gen_length * 4 // 5
    gaps = []
    for place in range(start, min(start + options.answer_length, options.gen_length)):
        first, second = logits[place].double().topk(2).values.tolist()
        gaps.append(first - second)
    progress = (step + 1) / options.steps
    needed = options.gap_late
    if progress < 0.67:
        needed = options.gap_middle
    if progress < 0.33:
        needed = options.gap_early
    return sum(gaps) / len(gaps) >= needed


def dense_logits(model: MaskedDiffusionModel, prompt: Prompt, canvas: list[int]) -> torch.Tensor:
    """[G, V] of the generated positions, of one problem alone."""
    ids = torch.tensor([*prompt.token_ids, *canvas])
    packing = packing_of([len(ids)], model.device)
    hidden = model.hidden(ids, torch.arange(len(ids)), packing)
    first = len(prompt.token_ids) + model.read_offset
    return (hidden @ model.head_weight.T)[first : first + len(canvas)]


def proposable(model: MaskedDiffusionModel, logits: torch.Tensor) -> torch.Tensor:
    """The logits of tokens that may be proposed."""
    allowed = logits.clone()
    allowed[:, model.token_ids.mask] = -torch.inf
    allowed[:, model.n_candidates :] = -torch.inf
    return allowed


def margins(model: MaskedDiffusionModel, logits: torch.Tensor, temperature: float) -> list[float]:
    allowed = proposable(model, logits.float())
    if temperature > 0:
        allowed = allowed / temperature
    first, second = allowed.softmax(-1).topk(2, dim=-1).values.unbind(-1)
    return (first - second).tolist()


def proposed(
    model: MaskedDiffusionModel, config: RunConfig, prompt: Prompt, logits: torch.Tensor, step: int
) -> list[int]:
    options: Any = config.sampler
    allowed = proposable(model, logits)
    if options.temperature == 0:
        return allowed.argmax(-1).tolist()
    counter = torch.tensor([[prompt.key, place, step] for place in range(len(logits))])
    noise = token_noise(counter, vocabulary=logits.shape[1], seed=options.seed)
    return (allowed.double().exp() / noise**options.temperature).argmax(-1).tolist()


def divergences(logits: torch.Tensor, before: torch.Tensor | None) -> list[float]:
    if before is None:
        return [math.nan] * len(logits)
    p = logits.double().log_softmax(-1)
    q = before.double().log_softmax(-1)
    return (p.exp() * (p - q)).sum(-1).tolist()


def twin(model: MaskedDiffusionModel, config: RunConfig, prompt: Prompt) -> list[list[int]]:
    """The generated tokens after each step."""
    options: Any = config.sampler
    mask = model.token_ids.mask
    canvas = [mask] * config.gen_length
    states: list[list[int]] = []
    block, at = -1, 0
    before, changes = None, []
    while mask in canvas and len(states) < config.steps:
        step = len(states)
        current = canvas.index(mask) // options.block_length
        at = at + 1 if current == block else 0
        block = current

        logits = dense_logits(model, prompt, canvas)
        token = proposed(model, config, prompt, logits, step)
        probability = logits.float().softmax(-1)
        entropy = (logit_stats(logits).entropy.double() * math.log(2)).tolist()
        lead = margins(model, logits, options.temperature)
        changes.append(divergences(logits, before))
        before = logits

        end = (block + 1) * options.block_length
        seen = [
            Masked(
                g,
                float(probability[g, token[g]]),
                entropy[g],
                lead[g],
                [row[g] for row in changes],
            )
            for g in range(end)
            if canvas[g] == mask
        ]
        if config.policy == "klass":
            chosen = [position.place for position in klass(seen, options, at)]
        elif config.policy == "prophet":
            chosen = [position.place for position in scheduled(seen, options, at)]
            if is_over(logits, options, step):
                chosen = [g for g, t in enumerate(canvas) if t == mask]
        else:
            chosen = [position.place for position in RULES[config.policy](seen, options)]
        for place in chosen:
            canvas[place] = token[place]
        states.append(list(canvas))
    return states
