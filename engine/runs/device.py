"""What one device does with batches of prompts: pack, decode, gather; halve its token budget once
if memory runs out."""

from __future__ import annotations

import contextlib
import logging
import sys
from collections.abc import Callable, Generator, Sequence
from typing import Any

import torch

from ..config import RunConfig
from ..decoding.canvas import Canvas
from ..decoding.make_canvas import row_tokens
from ..decoding.phases import Phases
from ..decoding.recorder import Finished
from ..decoding.setup import Setup
from ..models.flops import gemm_rate
from ..models.loading import MaskedDiffusionModel
from ..prompts.prompt import Prompt
from ..signals import Stop
from ..store.drawing import drawing_place
from .execution import Execution, token_budget
from .gather import Gathering
from .memory import budget_that_fits, footprint

logger = logging.getLogger(__name__)


def room_for(
    prompts: Sequence[Prompt], model: MaskedDiffusionModel, config: RunConfig, execution: Execution
) -> int:
    """The token budget that free device memory allows; no limit on a CPU or where somebody gave a
    budget."""
    free = free_bytes(model.device, execution)
    if free is None:
        return sys.maxsize
    shortest = row_tokens(model, config, min(len(p.token_ids) for p in prompts))
    need = footprint(config, model, keeps=execution.cache)
    return budget_that_fits(free, need, shortest=shortest)


def free_bytes(device: torch.device, execution: Execution) -> int | None:
    """Device memory that a batch may take; None on a CPU or where somebody gave a budget, where
    nobody asks."""
    if device.type != "cuda" or execution.token_budget is not None:
        return None
    free, _ = torch.cuda.mem_get_info(device)
    # What earlier batches left in the allocator's hands is free as well.
    return free + torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)


def free_cached_memory(device: torch.device) -> None:
    """Give back what the allocator keeps for later, after memory has run out."""
    if device.type == "cuda":
        torch.cuda.empty_cache()


def in_drawing_order(prompts: Sequence[Prompt]) -> list[Prompt]:
    """The order in which prompts are decoded: one that knows nothing of their length, so that
    whatever is finished when a run is cut short is a random sample of the whole. Rows of one length
    meet on a canvas only by chance. The samples of a problem follow each other."""
    return sorted(prompts, key=lambda p: drawing_place(p.problem))


def by_length(prompts: Sequence[Prompt]) -> list[Prompt]:
    """Shortest first. Not the order of a run: a run cut short would have its easiest problems
    alone."""
    return sorted(prompts, key=lambda p: len(p.token_ids))


class Device:
    """A model on its device, and what it remembers from batch to batch: token budget, problems
    gathering, phases.

    Once memory has run out the budget stays halved; a second time is an error.
    """

    def __init__(
        self,
        model: MaskedDiffusionModel,
        config: RunConfig,
        execution: Execution,
        put: Callable[[dict[str, Any]], None],
        stop: Stop | None = None,
    ) -> None:
        self._model = _fused(model) if execution.fused else model
        self._config = config
        self._execution = execution
        self._stop = stop
        self._setup = Setup(self._model, config, keeps=execution.cache)
        self._phases = Phases(model.device)
        self._gemm_rate = gemm_rate(model.device, model.dtype)
        blocks = [self._setup.policy.block_of(step) for step in range(config.steps)]
        self._gathering = Gathering(put, execution.limits, blocks=blocks)
        self._budget = token_budget(model.device.type, config, execution)
        self._used = self._budget
        self._halved = False
        self._to_compile = execution.compile
        self._canvas: Canvas | None = None
        self._passed_on = 0

    def decode(self, prompts: Sequence[Prompt]) -> Generator[Finished, None, None]:
        """Decode all prompts and pass each finished problem on; shards go to `put` when full or
        old, and at the end."""
        waiting = in_drawing_order(prompts)
        while waiting:
            done: set[str] = set()
            try:
                with contextlib.closing(self._attempt(waiting)) as stream:
                    for finished in stream:
                        done.add(finished.problem.id)
                        yield finished
                self.flush()
                return
            except torch.OutOfMemoryError as error:
                waiting = [p for p in waiting if p.problem.id not in done]
                if self._halved or not waiting:
                    raise
                self._halve(str(error))
            free_cached_memory(self._model.device)

    @property
    def begun(self) -> float:
        """What is decoded of problems that were not passed on yet, in problems."""
        if self._canvas is None:
            return 0.0
        return self._canvas.decoded - self._passed_on

    @property
    def budget(self) -> int:
        """Packed tokens of a pass that settings allow, and what is left of them since memory ran
        out."""
        return self._budget

    def free_bytes(self) -> int | None:
        """Device memory that the next batch may take; None where nobody asks."""
        return free_bytes(self._model.device, self._execution)

    def account(self) -> dict[str, Any]:
        """Where the seconds went and how much was computed, for the run record."""
        return self._phases.as_dict(gemm_rate=self._gemm_rate)

    def flush(self) -> None:
        """Hand over what has gathered, however little; after an interrupt nothing, for it may be
        half a problem."""
        if self._stop is None or not self._stop.interrupted:
            self._gathering.flush()

    def _halve(self, why: str) -> None:
        self._budget = max(1, self._used // 2)
        self._halved = True
        logger.warning(
            "out of memory; going on with half the token budget, %d: %s", self._budget, why[:200]
        )

    def _attempt(self, prompts: Sequence[Prompt]) -> Generator[Finished, None, None]:
        """Decode on one canvas, as large as settings and free memory allow."""
        self._used = min(self._budget, self._room(prompts))
        if self._to_compile:
            self._compile()
        decoder = self._setup.decoder(
            prompts,
            budget=self._used,
            refill=self._execution.refill,
            phases=self._phases,
        )
        self._canvas = decoder.canvas
        self._passed_on = 0
        take_sum = decoder.recorder.take_hidden_sum
        stream = decoder.decode(
            iter(prompts),
            stop=self._stop,
            between_steps=lambda: self._gathering.publish_if_due(take_sum),
        )
        try:
            for finished in stream:
                self._gathering.add(finished, take_sum)
                self._passed_on += 1
                yield finished
        finally:
            self._canvas = None
            self._gathering.add_sum(take_sum())

    def _room(self, prompts: Sequence[Prompt]) -> int:
        if self._halved:
            return sys.maxsize
        return room_for(prompts, self._model, self._config, self._execution)

    def _compile(self) -> None:
        """Once, for shapes that the first batch's budget makes; later batches get no larger a
        budget."""
        self._budget = self._used
        copies = 2 if self._config.guided else 1
        self._model = _compiled(self._model, self._used * copies)
        self._setup.model = self._model
        self._to_compile = False


def _compiled(model: MaskedDiffusionModel, most_tokens: int) -> MaskedDiffusionModel:
    from ..models.compiled import compiled

    return compiled(model, most_tokens=most_tokens)


def _fused(model: MaskedDiffusionModel) -> MaskedDiffusionModel:
    from ..models.fused import fused

    return fused(model)
