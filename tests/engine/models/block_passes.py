"""Decodings block by block, of random commits, and what each pass of them should read: the rule of
blocks written out, and one dense forward of the stock class over a whole row.

Shapes: L tokens of a row, D features.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import torch
from torch import Tensor

from diffengine.engine.config import RunConfig
from diffengine.engine.decoding.block_canvas import BlockCanvas
from diffengine.engine.decoding.canvas import Room
from diffengine.engine.decoding.make_canvas import make_canvas
from diffengine.engine.decoding.policy import Update
from diffengine.engine.models.loading import MaskedDiffusionModel
from diffengine.engine.policies import make_policy
from diffengine.engine.problems.read import Problem
from diffengine.engine.prompts.prompt import Prompt

LENGTHS = (1, 4, 9, 14, 23)
GEN_LENGTH = 11
BLOCK = 4


class Row:
    """One problem as the rule has it, without any of our arithmetic: all its tokens, and which of
    them see which."""

    def __init__(self, prompt: Prompt, mask: int, *, from_prompt_end: bool = False) -> None:
        """From the prompt's end or from its first token, and then up to a whole block."""
        self.start = len(prompt.token_ids)
        self.end = self.start + GEN_LENGTH
        first = self.start if from_prompt_end else 0
        block = [(place - first) // BLOCK for place in range(self.end + BLOCK)]
        whole = len([b for b in block if b <= block[self.end - 1]])
        length = self.end if from_prompt_end else whole
        self.block = block[:length]
        self.tokens = [*prompt.token_ids, *[mask] * (length - self.start)]
        self.mask = mask

    @property
    def allowed(self) -> Tensor:
        """Which tokens [L, L] see which: those of their block and of blocks before."""
        rows = [[seen <= own for seen in self.block] for own in self.block]
        return torch.tensor(rows)

    @property
    def open(self) -> list[int]:
        """The places of the first block with a mask."""
        first = self.tokens.index(self.mask)
        return [place for place, b in enumerate(self.block) if b == self.block[first]]

    @property
    def over(self) -> bool:
        return self.mask not in self.tokens


def dense_states(network: Any, row: Row) -> Tensor:
    """Final states [L, D] of the whole sequence, its masks to come included, in one forward."""
    seen = torch.zeros(len(row.block), len(row.block), dtype=torch.float64)
    seen = seen.masked_fill(~row.allowed, -torch.inf)[None, None]
    ids = torch.tensor([row.tokens])
    states: Tensor = network.model(input_ids=ids, attention_mask=seen).last_hidden_state[0]
    return states


def prompts(lengths: Sequence[int] = LENGTHS) -> list[Prompt]:
    generator = torch.Generator().manual_seed(3)
    made = []
    for number, length in enumerate(lengths):
        ids = torch.randint(6, 290, (length,), generator=generator).tolist()
        problem = Problem(id=f"p{number}", question="?", answer="1")
        made.append(Prompt(problem, number, number, tuple(ids), (21,)))
    return made


def commits(canvas: BlockCanvas, generator: torch.Generator) -> Update:
    """Random tokens at about half of each open block's masks, and at its first."""
    masked = canvas.generated == canvas.mask_id
    chosen = torch.rand(masked.shape, generator=generator) < 0.4
    chosen |= masked.cumsum(-1) == 1
    token = torch.randint(6, 290, masked.shape, generator=generator)
    return Update(token, chosen & masked)


def passes(
    model: MaskedDiffusionModel, rows: dict[str, Row], entering: list[Prompt], *, keeps: bool
) -> Iterator[tuple[str, list[int], Tensor]]:
    """A whole decoding of random commits, in which rows enter as others leave: at every pass, of
    each problem, the places whose predictions are read, and the states there."""
    config = RunConfig.of(
        model="test", policy="sdar", gen_length=GEN_LENGTH, block_length=BLOCK, denoising_steps=4
    )
    policy = make_policy("sdar", config.sampler, model.token_ids, n_candidates=model.n_candidates)
    canvas = make_canvas(model, config, policy, Room(rows=3, tokens=90), keeps=keeps)
    assert isinstance(canvas, BlockCanvas)
    generator = torch.Generator().manual_seed(8)
    waiting = iter(entering)
    while canvas.fill(waiting):
        packed = canvas.pack()
        states = model.hidden_read(
            packed.token_ids, packed.positions, packed.packing, packed.reads
        ).unflatten(0, (-1, BLOCK))
        without = canvas.unread()
        unread = set() if without is None else set(without.tolist())
        update = commits(canvas, generator)
        for number, line in enumerate(canvas.rows):
            row = rows[line.prompt.problem.id]
            read = [p for p in range(BLOCK) if number * BLOCK + p not in unread]
            places = row.open
            yield line.prompt.problem.id, [places[p] for p in read], states[number, read]
            for place, commit, token in zip(
                places, update.commit[number], update.token[number], strict=False
            ):
                if commit:
                    row.tokens[place] = int(token)
        canvas.apply(update)
