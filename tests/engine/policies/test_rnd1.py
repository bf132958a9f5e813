"""RND1's sampler, packed, against the published loop written out slowly."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from diffengine.engine.config import RunConfig
from diffengine.engine.models.loading import MaskedDiffusionModel
from diffengine.engine.policies.rnd1 import even_counts
from diffengine.engine.policies.rnd1_options import RND1Options
from diffengine.engine.prompts.prompt import Prompt
from diffengine.kernels.noise import token_noise

sys.path.append(str(Path(__file__).parent))
from dream_twin import counters, full_logits

GRID: dict[str, dict[str, Any]] = {
    "published": {},
    "greedy": {"temperature": 0.0},
    "few steps": {"steps": 5},
    "more steps than tokens": {"steps": 30},
    "single step": {"steps": 1},
    "hot": {"temperature": 1.2, "seed": 7},
    "cut twice": {"temperature": 1.0, "top_k": 6, "top_p": 0.6, "steps": 7},
    "nucleus": {"temperature": 0.8, "top_p": 0.9},
    "masked positions alone": {"temperature": 0.9, "record": "masked"},
}


def config_of(**changes: Any) -> RunConfig:
    settings = {"model": "m", "policy": "rnd1", "gen_length": 12, "steps": 12} | changes
    return RunConfig.of(**settings)


def published(model: MaskedDiffusionModel, config: RunConfig, prompt: Prompt) -> list[list[int]]:
    """The generated canvas after each forward pass: keep the highest entropies masked."""
    options: Any = config.sampler
    start = len(prompt.token_ids)
    x = torch.tensor([*prompt.token_ids, *[model.token_ids.mask] * config.gen_length])
    total = torch.tensor(config.gen_length)
    maskable = torch.arange(len(x)) >= start
    states = []
    for i, step in enumerate(range(config.steps - 1, -1, -1)):
        logits = full_logits(model, x)[maskable]
        logits[:, model.token_ids.mask] = -torch.inf
        logits[:, model.n_candidates :] = -torch.inf
        if options.temperature > 0:
            logits = logits / options.temperature
        logits = cut(logits, options)
        logp = logits.log_softmax(-1)
        token = logp.argmax(-1)
        places = maskable.nonzero().flatten()
        if options.temperature > 0:
            noise = token_noise(
                counters(prompt, places - start, i), vocabulary=logits.shape[1], seed=options.seed
            )
            token = (logits.double() - noise.log()).argmax(-1)
        p = logp.exp()
        entropy = -torch.where(p > 0, p * logp, 0.0).sum(-1)
        cutoff = int((total * (step / config.steps)).long()) if step else 0
        highest_first = sorted(range(len(places)), key=lambda n: (-float(entropy[n]), -n))
        for n in highest_first[cutoff:]:
            x[places[n]] = token[n]
            maskable[places[n]] = False
        states.append(x[start:].tolist())
    return states


def cut(logits: torch.Tensor, options: Any) -> torch.Tensor:
    """Top-k first, then top-p of what is left."""
    for row in logits:
        order = sorted(range(len(row)), key=lambda token: (-float(row[token]), token))
        if options.top_k:
            row[order[options.top_k :]] = -torch.inf
        if options.top_p < 1:
            mass = row[order].softmax(-1).cumsum(-1)
            n_up_to = int((mass <= options.top_p).sum())
            row[order[n_up_to + 1 :]] = -torch.inf
    return logits


@pytest.mark.parametrize("which", ["random_model", "bundled_model"])
@pytest.mark.parametrize("name", list(GRID))
def test_every_step_is_the_published_one(
    name: str,
    which: str,
    request: pytest.FixtureRequest,
    packed: Callable[..., Any],
    prompts_of: Any,
) -> None:
    model = request.getfixturevalue(which)
    config = config_of(**GRID[name])
    prompts = prompts_of(model, config.gen_length)[:3]
    columns = packed(model, config, prompts)
    for prompt in prompts:
        tokens = columns[prompt.problem.id]["token"].tolist()
        assert tokens == published(model, config, prompt), prompt.problem.id


def test_a_problem_is_the_same_alone_in_any_batch_in_any_order(
    bundled_model: MaskedDiffusionModel, packed: Callable[..., Any], prompts_of: Any
) -> None:
    config = config_of(temperature=0.7, top_p=0.9)
    prompts = prompts_of(bundled_model, config.gen_length)
    together = packed(bundled_model, config, prompts)
    alone = {p.problem.id: packed(bundled_model, config, [p])[p.problem.id] for p in prompts}
    narrow = packed(bundled_model, config, prompts[::-1], budget=150)
    waiting = packed(bundled_model, config, prompts[2:] + prompts[:2], budget=150, refill=False)
    for other in (alone, narrow, waiting):
        for key, columns in together.items():
            assert np.array_equal(columns["token"], other[key]["token"])


@pytest.mark.parametrize(
    ("masks", "steps", "expected"),
    [
        (8, 8, [1] * 8),
        (10, 4, [3, 2, 3, 2]),  # 7.5, 5 and 2.5 rounded down stay masked
        (3, 8, [1, 0, 1, 0, 0, 1, 0, 0]),
        (5, 1, [5]),
    ],
)
def test_masks_fall_in_even_steps(masks: int, steps: int, expected: list[int]) -> None:
    assert even_counts(masks, steps) == expected


@pytest.mark.parametrize("n", [1, 7, 100, 256, 1000])
@pytest.mark.parametrize("steps", [1, 3, 128, 1001])
def test_every_position_commits_once(n: int, steps: int) -> None:
    counts = even_counts(n, steps)
    assert (len(counts), sum(counts), min(counts) >= 0) == (steps, n, True)


def test_it_is_warm_unless_told_otherwise() -> None:
    assert RND1Options().temperature == 0.1
