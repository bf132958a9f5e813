"""Decoding, and what is seen of it: every step of every row as the recorder gets it, before anything
is rounded, cut or laid out.

Shapes: K tokens of an open block.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any, NamedTuple

from torch import Tensor

from diffengine.engine.config import RunConfig
from diffengine.engine.decoding.loop import Decoder
from diffengine.engine.decoding.phases import Phases
from diffengine.engine.decoding.setup import Setup
from diffengine.engine.models.family import Blocks
from diffengine.engine.models.loading import MaskedDiffusionModel
from diffengine.engine.problems.read import Problem
from diffengine.engine.prompts.prompt import Prompt, problem_key


class Seen(NamedTuple):
    """One step of a row: its block, the open tokens before it [K], and columns [K, ...]."""

    block: int
    before: Tensor
    columns: dict[str, Tensor]


class Watched(NamedTuple):
    """`steps` of each row by its problem's id, the stored `columns` by the same, and the account."""

    steps: dict[str, list[Seen]]
    columns: dict[str, dict[str, Any]]
    phases: Phases
    decoder: Decoder


def prompt_of(length: int, *, number: int = 0, answer: Sequence[int] = (70, 71)) -> Prompt:
    """A prompt of so many tokens, none of which is special."""
    name = f"{length} tokens, {number}"
    ids = tuple(20 + (37 * length + 101 * number + 13 * i * i) % 500 for i in range(length))
    problem = Problem(id=name, question="", answer="7")
    return Prompt(problem, 0, problem_key(name), ids, tuple(answer))


def config_of(length: int, gen_length: int, **settings: Any) -> RunConfig:
    """SDAR's settings; the surest token first, unless `settings` say otherwise."""
    defaults = {"remasking_strategy": "low_confidence_static"}
    return RunConfig.of(
        model="test",
        policy="sdar",
        block_length=length,
        gen_length=gen_length,
        **(defaults | settings),
    )


def of_blocks(
    model: MaskedDiffusionModel, blocks: Blocks, *, read_offset: int = 0
) -> MaskedDiffusionModel:
    """The model as if its family counted and saw its blocks so."""
    family = dataclasses.replace(model.family, blocks=blocks, read_offset=read_offset)
    return dataclasses.replace(model, family=family)


def watched(
    model: MaskedDiffusionModel,
    config: RunConfig,
    prompts: Sequence[Prompt],
    *,
    keeps: bool = True,
    budget: int = 1 << 20,
    refill: bool = True,
    ring: bool = True,
) -> Watched:
    """Decode the prompts and look on."""
    phases = Phases(model.device)
    setup = Setup(model, config, keeps=keeps)
    decoder = setup.decoder(prompts, budget=budget, refill=refill, phases=phases)
    if not ring:
        decoder.head.ring = None
    steps: dict[str, list[Seen]] = {prompt.problem.id: [] for prompt in prompts}
    record = decoder.recorder.step

    def look(canvas: Any, hidden: Tensor, stats: Any, update: Any) -> None:
        shape = canvas.generated.shape
        columns = {"hidden": hidden, "after": update.token.where(update.commit, canvas.generated)}
        columns |= {name: value for name, value in stats._asdict().items() if value.numel()}
        columns = {
            name: value.reshape(*shape, *value.shape[1:]) if value.shape[:2] != shape else value
            for name, value in columns.items()
        }
        for index, row in enumerate(canvas.rows):
            of_row = {name: value[index].clone() for name, value in columns.items()}
            seen = Seen(row.block, canvas.generated[index].clone(), of_row)
            steps[row.prompt.problem.id].append(seen)
        record(canvas, hidden, stats, update)

    decoder.recorder.step = look  # type: ignore[method-assign]
    finished = {f.problem.id: f.columns for f in decoder.decode(iter(prompts))}
    assert finished.keys() == steps.keys()
    return Watched(steps, finished, phases, decoder)
