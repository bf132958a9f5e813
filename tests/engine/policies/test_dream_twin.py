"""Dream's sampler, packed, against the published loop written out slowly: one problem, all logits,
the published order of operations. Only the noise is ours, from the same counters."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch

from diffengine.engine.config import RunConfig
from diffengine.engine.models.attention import packing_of
from diffengine.engine.models.loading import MaskedDiffusionModel
from diffengine.engine.prompts.prompt import Prompt
from diffengine.kernels.noise import philox, token_noise, uniform

FIRST_WORD = 0x8000_0001
"""The counter word of the noise that picks and orders positions."""

ALGS = ("origin", "maskgit_plus", "topk_margin", "entropy")
GRID: dict[str, dict[str, Any]] = {
    "greedy": {},
    "few steps": {"steps": 5},
    "more steps than tokens": {"steps": 40},
    "single step": {"steps": 1},
    "one token": {"steps": 3, "gen_length": 1},
    "coarse end": {"eps": 0.5},
    "no end": {"eps": 0.0},
    "constant noise level": {"eps": 1.0},
    "warm": {"temperature": 0.7},
    "published recipe": {"temperature": 0.2, "top_p": 0.95},
    "greedy nucleus": {"top_p": 0.6},
    "first token alone": {"temperature": 1.0, "top_p": 0.0},
    "few tokens": {"temperature": 1.5, "top_k": 3},
    "one token to draw from": {"temperature": 1.5, "top_k": 1},
    "nucleus of few": {"temperature": 1.2, "top_p": 0.8, "top_k": 4, "steps": 9},
    "noisy order": {"alg_temp": 0.3},
    "all noise": {"temperature": 0.9, "top_p": 0.9, "alg_temp": 0.1, "seed": 123456789012},
}


def config_of(**changes: Any) -> RunConfig:
    settings = {"model": "m", "policy": "dream", "gen_length": 16, "steps": 16} | changes
    return RunConfig.of(**settings)


def published(
    model: MaskedDiffusionModel, config: RunConfig, prompt: Prompt
) -> list[tuple[list[int], set[int]]]:
    """The generated canvas after each step, and the positions that the step wrote."""
    options: Any = config.sampler
    literal = options.numerics == "reference"
    mask = model.token_ids.mask
    start = len(prompt.token_ids)
    x = torch.tensor([*prompt.token_ids, *[mask] * config.gen_length])
    t = torch.linspace(1, options.eps, options.steps + 1)
    states = []
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
            chosen = ordered(confidence, noise, options, masked, x, literal)[:count]
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


def ordered(
    confidence: torch.Tensor,
    noise: torch.Tensor,
    options: Any,
    masked: torch.Tensor,
    x: torch.Tensor,
    literal: bool,
) -> list[int]:
    """The masked positions, first to last: k of them are k draws without replacement."""
    score = confidence
    if options.alg_temp > 0:
        gumbel = -torch.log(-torch.log(noise))
        score = (confidence / options.alg_temp).double() + gumbel
    return sorted(range(len(masked)), key=lambda place: (-float(score[place]), place))


@pytest.mark.parametrize("which", ["random_model", "bundled_model"])
@pytest.mark.parametrize("alg", ALGS)
@pytest.mark.parametrize("name", list(GRID))
def test_every_step_is_the_published_one(
    name: str,
    alg: str,
    which: str,
    request: pytest.FixtureRequest,
    packed: Callable[..., Any],
    prompts_of: Any,
) -> None:
    model = request.getfixturevalue(which)
    config = config_of(alg=alg, **GRID[name])
    compare(model, config, packed, prompts_of)


def compare(model: MaskedDiffusionModel, config: RunConfig, packed: Any, prompts_of: Any) -> None:
    prompts = prompts_of(model, config.gen_length)[:4]
    columns = packed(model, config, prompts)
    for prompt in prompts:
        mine = columns[prompt.problem.id]
        for step, (tokens, written) in enumerate(published(model, config, prompt)):
            assert mine["token"][step].tolist() == tokens, (prompt.problem.id, step)
            assert set(mine["committed"][step].nonzero()[0].tolist()) == written
