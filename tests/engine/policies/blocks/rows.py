"""Whole decodings of prompts of chosen lengths, ours and the twin's."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

from diffengine.engine.config import RunConfig
from diffengine.engine.decoding.setup import Setup
from diffengine.engine.models.loading import MaskedDiffusionModel
from diffengine.engine.problems.read import Problem
from diffengine.engine.prompts.prompt import Prompt, problem_key

from ...decoding.blocks.twin import Twin
from .block_twin import LogitsOf, Row, Step


def prompt_of(length: int) -> Prompt:
    """A prompt of so many tokens, none of which is special."""
    name = f"{length} tokens"
    ids = tuple(20 + (37 * length + 13 * i * i) % 500 for i in range(length))
    return Prompt(Problem(id=name, question="", answer=None), 0, problem_key(name), ids, ())


def config_of(policy: str, **settings: Any) -> RunConfig:
    return RunConfig.of(model="test", policy=policy, **settings)


def decoded(
    model: MaskedDiffusionModel,
    config: RunConfig,
    prompts: Sequence[Prompt],
    *,
    budget: int = 1 << 20,
    refill: bool = True,
) -> dict[str, dict[str, Any]]:
    """The columns of each problem by its id."""
    decoder = Setup(model, config).decoder(prompts, budget=budget, refill=refill)
    return {f.problem.id: f.columns for f in decoder.decode(iter(prompts))}


def dense_logits(model: MaskedDiffusionModel, block_length: int) -> LogitsOf:
    """Of the stock class over a whole row under the mask of blocks written out."""
    twin = Twin(model.network, attention="eager")

    @torch.inference_mode()
    def logits_of(tokens: list[int], start: int) -> Tensor:
        block = torch.arange(len(tokens)) // block_length
        states = twin.states(torch.tensor(tokens), block[None, :] <= block[:, None])
        return states[start:] @ model.head_weight.T

    return logits_of


Loop = Callable[[Row, int], list[Step]]


def assert_every_step_is_the_twins(
    model: MaskedDiffusionModel, config: RunConfig, prompts: Sequence[Prompt], loop: Loop
) -> list[list[Step]]:
    """Tokens, commits and revisions of every step of every row; returns the twin's steps."""
    columns = decoded(model, config, prompts)
    options: Any = config.sampler
    logits_of = dense_logits(model, options.block_length)
    all_steps = []
    for prompt in prompts:
        row = Row(prompt.token_ids, prompt.key, options, logits_of, model.token_ids.mask)
        steps = loop(row, model.token_ids.eos)
        ours = columns[prompt.problem.id]
        for number, step in enumerate(steps):
            where = (prompt.problem.id, number)
            assert ours["token"][number].tolist() == step.tokens, where
            assert set(ours["committed"][number].nonzero()[0].tolist()) == step.committed, where
            if "revised" in ours:
                assert set(ours["revised"][number].nonzero()[0].tolist()) == step.revised, where
        assert int(ours["n_forwards"]) == int(ours["performed"].sum()) == len(steps)
        all_steps.append(steps)
    return all_steps
