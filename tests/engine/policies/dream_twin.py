"""The published loop of Dream's sampler written out slowly: one problem, all logits, the published
order of operations. Only the noise is ours, from the same counters."""

from __future__ import annotations

from typing import Any

import torch

from diffengine.engine.config import RunConfig
from diffengine.engine.models.attention import packing_of
from diffengine.engine.models.loading import MaskedDiffusionModel
from diffengine.engine.prompts.prompt import Prompt
from diffengine.kernels.noise import philox, token_noise, uniform

FIRST_WORD = 0x8000_0001
"""The counter word of the noise that picks and orders positions."""


def config_of(**changes: Any) -> RunConfig:
    settings = {"model": "m", "policy": "dream", "gen_length": 12, "steps": 12} | changes
    return RunConfig.of(**settings)


def published(
    model: MaskedDiffusionModel,
    config: RunConfig,
    prompt: Prompt,
    *,
    confidences: list[torch.Tensor] | None = None,
) -> list[tuple[list[int], set[int]]]:
    """The generated canvas after each step, and the positions that the step wrote."""
    options: Any = config.sampler
    literal = options.numerics == "reference"
    mask = model.token_ids.mask
    start = len(prompt.token_ids)
    x = torch.tensor([*prompt.token_ids, *[mask] * config.gen_length])
    t = torch.linspace(1, options.eps, options.steps + 1)
    states: list[tuple[list[int], set[int]]] = []
    for i in range(options.steps):
        before = x.clone()
        masked = (x == mask).nonzero().flatten()
        last = i == options.steps - 1
        share = 1 - t[i + 1] / t[i]
        logits = full_logits(model, x)[masked]
        if not literal:
            logits[:, mask] = -torch.inf
            logits[:, model.n_candidates :] = -torch.inf
            logits = logits.float()
        counter = counters(prompt, masked - start, i)
        confidence, x0 = sampled(logits, options, counter)
        if confidences is not None:
            confidences.append(confidence)
        noise = uniform(
            philox(
                (torch.full_like(masked, FIRST_WORD), masked - start, counter[:, 2], counter[:, 0]),
                key=options.seed,
            )[0]
        )
        if options.alg == "origin":
            chosen = (noise < (1.0 if last else float(share))).nonzero().flatten()
        else:
            n = torch.tensor(float(len(masked)))
            count = len(masked) if last else int(n * share)
            score = confidence
            if options.alg_temp > 0:
                gumbel = -torch.log(-torch.log(noise))
                score = (confidence / options.alg_temp).double() + gumbel
            chosen = first_of(score, masked, len(x), count, literal)
        x[masked[chosen]] = x0[chosen]
        written = (x != before).nonzero().flatten() - start
        states.append((x[start:].tolist(), set(written.tolist())))
    return states


def full_logits(model: MaskedDiffusionModel, x: torch.Tensor) -> torch.Tensor:
    """The logits of every position, the model's shift undone as published."""
    hidden = model.hidden(x, torch.arange(len(x)), packing_of([len(x)], model.device))
    logits = hidden @ model.head_weight.T
    if model.read_offset == -1:
        logits = torch.cat([logits[:1], logits[:-1]])
    return logits


def counters(prompt: Prompt, positions: torch.Tensor, step: int) -> torch.Tensor:
    keys = torch.full_like(positions, prompt.key)
    return torch.stack([keys, positions, torch.full_like(positions, step)], 1)


def sampled(
    logits: torch.Tensor, options: Any, counter: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor]:
    """Confidence and token of each row: temperature, then top-p, then top-k, then the softmax."""
    if options.temperature > 0:
        logits = logits / options.temperature
    if options.top_p < 1:
        order, ids = torch.sort(logits, descending=True, stable=options.numerics == "default")
        mass = order.softmax(-1).cumsum(-1)
        for row in range(len(logits)):
            n_above = int((mass[row] <= options.top_p).sum())
            logits[row, ids[row, n_above + 1 :]] = -torch.inf
    if options.top_k > 0:
        least = logits.topk(min(options.top_k, logits.shape[1])).values[:, -1:]
        logits = torch.where(logits < least, -torch.inf, logits)
    p = logits.softmax(-1)
    if options.temperature > 0:
        noise = token_noise(counter, vocabulary=logits.shape[1], seed=options.seed)
        x0 = (logits.double() - noise.log()).argmax(-1)
        confidence = p.gather(-1, x0[:, None]).squeeze(-1)
    else:
        confidence, x0 = p.max(-1)
    if options.alg == "topk_margin":
        largest = p.sort(-1, descending=True).values
        confidence = largest[:, 0] - largest[:, 1]
    if options.alg == "entropy":
        confidence = (p * torch.log(p + 1e-10)).sum(-1)
    return confidence, x0


def first_of(
    score: torch.Tensor, masked: torch.Tensor, length: int, count: int, literal: bool
) -> list[int]:
    """Which `count` of the masked positions are the surest, by their place among these."""
    if not literal:
        places = range(len(masked))
        return sorted(places, key=lambda place: (-float(score[place]), place))[:count]
    whole = torch.full((length,), -torch.inf, dtype=score.dtype)
    whole[masked] = score
    picked = whole.topk(count).indices.tolist()
    return [place for place, position in enumerate(masked.tolist()) if position in picked]


def compare(model: MaskedDiffusionModel, config: RunConfig, packed: Any, prompts_of: Any) -> Any:
    """Hold every step against the twin's; returns the columns."""
    prompts = prompts_of(model, config.gen_length)[:2]
    columns = packed(model, config, prompts)
    for prompt in prompts:
        mine: Any = columns[prompt.problem.id]
        for step, (tokens, written) in enumerate(published(model, config, prompt)):
            assert mine["token"][step].tolist() == tokens, (prompt.problem.id, step)
            assert set(mine["committed"][step].nonzero()[0].tolist()) == written
    return columns
