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

from ...decoding.blocks.twin import Rule, Twin, sees_of
from . import published_loops
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
    keeps: bool = True,
) -> dict[str, dict[str, Any]]:
    """The columns of each problem by its id."""
    decoder = Setup(model, config, keeps=keeps).decoder(prompts, budget=budget, refill=refill)
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
        assert_steps_are(steps, columns[prompt.problem.id], prompt.problem.id)
        all_steps.append(steps)
    return all_steps


def assert_steps_are(steps: Sequence[Step], ours: dict[str, Any], name: str) -> None:
    """That the columns of a problem have these steps and no others."""
    for number, step in enumerate(steps):
        where = (name, number)
        assert ours["token"][number].tolist() == step.tokens, where
        assert set(ours["committed"][number].nonzero()[0].tolist()) == step.committed, where
        if "revised" in ours:
            assert set(ours["revised"][number].nonzero()[0].tolist()) == step.revised, where
    assert int(ours["n_forwards"]) == int(ours["performed"].sum()) == len(steps)


def dense_rows(model: MaskedDiffusionModel, block_length: int) -> published_loops.LogitsOf:
    """Logits of a whole row by the stock class, under the mask that the model's family says,
    written out pair by pair."""
    blocks = model.family.blocks
    assert blocks is not None
    twin = Twin(model.network, attention="eager")

    @torch.inference_mode()
    def logits_of(tokens: list[int], opens: int) -> Tensor:
        rule = Rule(blocks, block_length, 0, (), model.token_ids.mask, model.token_ids.eos)
        states = twin.states(torch.tensor(tokens), sees_of(len(tokens), opens, rule))
        return states @ model.head_weight.T

    return logits_of


def assert_every_step_is_the_loops(
    model: MaskedDiffusionModel,
    config: RunConfig,
    prompts: Sequence[Prompt],
    loop: Callable[[published_loops.Line, int], list[Step]],
    *,
    keeps: bool = True,
) -> list[list[Step]]:
    """The same with one of the `published_loops`; returns its steps."""
    columns = decoded(model, config, prompts, keeps=keeps)
    options: Any = config.sampler
    logits_of = dense_rows(model, options.block_length)
    all_steps = []
    for prompt in prompts:
        ids = model.token_ids
        line = published_loops.Line(prompt.token_ids, prompt.key, options, logits_of, ids.mask)
        steps = loop(line, ids.eos)
        assert_steps_are(steps, columns[prompt.problem.id], prompt.problem.id)
        all_steps.append(steps)
    return all_steps
