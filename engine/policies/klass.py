"""KLASS: positions commit that are sure and have stopped changing.

Kim et al. 2025, "KLASS: KL-guided fast inference in masked diffusion models" (arXiv 2511.05664). A
masked position of the row's block is ready if p > confidence_threshold and the KL divergence of its
distribution from that of the step before, in nats, was below kl_threshold in each of the last
`history` steps, all of them in this block. All that are ready commit; where none is, as many as
LLaDA's schedule asks for, the most confident first.

The KL is exact, over the whole vocabulary; the published code adds 1e-12 to both probabilities. At
a row's first step there is none, and nothing is ready. Where fewer were ready than the schedule
asks for, the published loop leaves the block with masks in it; here the row stays until none is
left, or `steps` are used up.
"""

from __future__ import annotations

from weakref import WeakKeyDictionary

import torch
from torch import Tensor

from ..decoding.canvas import Canvas
from ..decoding.policy import EVERY_STEP
from ..models.family import TokenIds
from .commits import rank_of, transfer_counts
from .parallel import ParallelPolicy, Sight
from .parallel_options import KlassOptions


class Memory:
    """What is remembered of the rows on one canvas, by their slots: the last KL divergences
    [slots, history, G], the block that a row is at, and its steps in that block before this one."""

    def __init__(self, canvas: Canvas, history: int) -> None:
        slots = canvas.room.rows
        device = canvas.device
        shape = (slots, history, canvas.gen_length)
        self.divergence = torch.full(shape, torch.nan, dtype=torch.float64, device=device)
        self.block = torch.full((slots,), -1, device=device)
        self.steps = torch.zeros(slots, dtype=torch.int64, device=device)

    def step(self, canvas: Canvas, divergence: Tensor, block: Tensor) -> tuple[Tensor, Tensor]:
        """Remember a step: the divergences [B, G] and each row's block [B]. Returns the last
        divergences [B, history, G], the newest behind, and the steps in the block before [B]."""
        slots = canvas.on_device([row.slot for row in canvas.rows])
        entered = canvas.on_device([int(row.n_forwards == 0) for row in canvas.rows]).bool()

        past = torch.where(entered[:, None, None], torch.nan, self.divergence[slots])
        recent = torch.cat([past[:, 1:], divergence[:, None]], dim=1)
        stays = (self.block[slots] == block) & ~entered
        steps = torch.where(stays, self.steps[slots] + 1, 0)

        self.divergence[slots] = recent
        self.block[slots] = block
        self.steps[slots] = steps
        return recent, steps


class KlassPolicy(ParallelPolicy):
    """Commit what is ready, else what the schedule asks for."""

    Options = KlassOptions
    looks_back = EVERY_STEP

    def __init__(self, options: KlassOptions, token_ids: TokenIds, *, n_candidates: int) -> None:
        super().__init__(options, token_ids, n_candidates=n_candidates)
        self.options = options
        self.counts = transfer_counts(options.block_length, options.steps_per_block)
        self._memories: WeakKeyDictionary[Canvas, Memory] = WeakKeyDictionary()

    def choose(self, canvas: Canvas, sight: Sight) -> Tensor:
        """The ready positions [B, G] of each row; where none is, the schedule's number of them."""
        recent, steps = self._remember(canvas, sight)
        confidence = sight.confidence
        stable = (recent < self.options.kl_threshold).all(1)
        long_enough = steps >= self.options.history - 1
        sure = confidence > self.options.confidence_threshold
        ready = sight.eligible & stable & sure & long_enough[:, None]

        # Where a block outlasts its schedule the last count goes on. None is 0: there are no more
        # steps than tokens.
        due = canvas.on_device(self.counts)[steps.clamp_max(len(self.counts) - 1)]
        scheduled = rank_of(torch.where(sight.eligible, confidence, -torch.inf)) < due[:, None]
        return torch.where(ready.any(-1, keepdim=True), ready, scheduled)

    def _remember(self, canvas: Canvas, sight: Sight) -> tuple[Tensor, Tensor]:
        memory = self._memories.get(canvas)
        if memory is None:
            memory = Memory(canvas, self.options.history)
            self._memories[canvas] = memory
        first = torch.where(sight.eligible, canvas.position, canvas.gen_length).amin(-1)
        return memory.step(canvas, sight.divergence, first // self.block_length)
