"""What one device does with batches of prompts: pack, decode, gather; halve its token budget once
if memory runs out.

Knows a model and where shards go, not run directories, locks or other devices.
"""

from __future__ import annotations

import contextlib
import logging
import sys
from collections.abc import Callable, Generator, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import torch

from ...kernels.geometry import LogitGeometry
from ...kernels.head import Head
from ...kernels.ring import LogitRing
from ..config import ConfigError, RunConfig
from ..decoding.canvas import Canvas, capacity_for
from ..decoding.loop import decode
from ..decoding.null_beliefs import NullBeliefs
from ..decoding.phases import Phases
from ..decoding.recorder import Finished, Recorder
from ..decoding.shapes import Shapes, shapes_of
from ..models.flops import gemm_rate
from ..models.loading import MaskedDiffusionModel
from ..policies import POLICIES
from ..policies.llada import LLaDAPolicy
from ..prompts.prompt import Prompt
from ..signals import Stop
from ..store.drawing import draw_key
from .gather import Gathering, Limits
from .memory import budget_that_fits, footprint

logger = logging.getLogger(__name__)

TOKEN_BUDGET = {"cpu": 2048, "cuda": 16384}
SHARD_PROBLEMS = 64


@dataclass(frozen=True)
class Execution:
    """How a run is executed; nothing in here changes a result beyond the stated rounding.

    More than one of `workers`, or the address of a `cluster`, means Ray; each worker has a device
    of its own.
    """

    device: str | None = None
    workers: int = 1
    cluster: str | None = None
    token_budget: int | None = None
    refill: bool = True
    compile: bool = False
    fused: bool = False
    shard_problems: int | None = None
    shard_bytes: int = 128 << 20
    flush_seconds: float = 60.0
    longest_row: int | None = None
    """Tokens of the longest row of the whole run, for `compile`; None: as long as the model takes.
    """

    def __post_init__(self) -> None:
        if self.compile and self.fused:
            raise ConfigError("--compile and --fused replace the same layers; give one of them")

    @property
    def distributed(self) -> bool:
        return self.workers > 1 or self.cluster is not None

    @property
    def limits(self) -> Limits:
        return Limits(self.shard_problems or SHARD_PROBLEMS, self.shard_bytes, self.flush_seconds)

    @property
    def on_gpu(self) -> bool:
        return self.device is not None and self.device.startswith("cuda")


class Desk(NamedTuple):
    """All that a decoding step needs besides the model."""

    canvas: Canvas
    head: Head
    policy: LLaDAPolicy
    recorder: Recorder


class Known(NamedTuple):
    """What follows from model and settings alone, worked out once: the null pass, and the Gram
    matrix of the head."""

    null: NullBeliefs
    geometry: LogitGeometry


def token_budget(device_type: str, config: RunConfig, execution: Execution) -> int:
    """Packed tokens of one forward pass that problems may fill; guidance sends every row through
    twice."""
    budget = execution.token_budget or TOKEN_BUDGET.get(device_type, TOKEN_BUDGET["cpu"])
    return budget // 2 if config.cfg_scale > 0 else budget


def room_for(
    prompts: Sequence[Prompt], model: MaskedDiffusionModel, config: RunConfig, execution: Execution
) -> int:
    """The token budget that free device memory allows; no limit on a CPU or where somebody gave a
    budget."""
    free = free_bytes(model.device, execution)
    if free is None:
        return sys.maxsize
    shortest = min(len(p.token_ids) for p in prompts) + config.gen_length
    return budget_that_fits(free, footprint(config, model), shortest=shortest)


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


def set_up(
    prompts: Sequence[Prompt],
    model: MaskedDiffusionModel,
    config: RunConfig,
    *,
    budget: int,
    refill: bool = True,
    shapes: Shapes | None = None,
    known: Known | None = None,
) -> Desk:
    """An empty canvas for these prompts, with head, policy and recorder to match. `shapes` for a
    compiled network.

    `known`: what an earlier desk of the same model and settings has worked out.
    """
    policy = POLICIES.load(config.policy)(config, model.token_ids, n_candidates=model.n_candidates)
    capacity = capacity_for(prompts, gen_length=config.gen_length, token_budget=budget)
    canvas = Canvas(
        gen_length=config.gen_length,
        mask_id=model.token_ids.mask,
        performed=policy.performed,
        capacity=capacity,
        token_budget=budget,
        device=model.device,
        guided=config.cfg_scale > 0,
        refill=refill,
        shapes=shapes,
    )
    dtype = model.logits_dtype(config.logits_dtype)

    def head_with(ring: LogitRing | None) -> Head:
        sampling = policy.sampling
        guidance = config.cfg_scale
        return Head(
            model.head_weight, sampling=sampling, guidance=guidance, ring=ring, logits_dtype=dtype
        )

    n_answer = max(len(p.answer_ids) for p in prompts)
    null = known.null if known else NullBeliefs(model, config, policy, head_with(None))
    geometry = known.geometry if known else None
    recorder = Recorder(
        model, config, capacity=capacity, n_answer=n_answer, null=null, geometry=geometry
    )
    head = head_with(
        LogitRing.if_it_fits(capacity * config.gen_length, model.head_weight, dtype=dtype)
    )
    return Desk(canvas, head, policy, recorder)


def in_drawing_order(prompts: Sequence[Prompt]) -> list[Prompt]:
    """The order in which prompts are decoded: one that knows nothing of their length, so that
    whatever is finished when a run is cut short is a random sample of the whole. Rows of one length
    meet on a canvas only by chance."""
    return sorted(prompts, key=lambda p: draw_key(p.problem.id))


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
        self._model = (
            _compiled(model) if execution.compile else _fused(model) if execution.fused else model
        )
        self._config = config
        self._execution = execution
        self._stop = stop
        self._phases = Phases(model.device)
        self._gemm_rate = gemm_rate(model.device, model.dtype)
        self._gathering = Gathering(put, config, execution.limits)
        self._budget = self._used = token_budget(model.device.type, config, execution)
        self._halved = False
        self._known: Known | None = None
        self._shapes: Shapes | None = None

    def decode(self, prompts: Sequence[Prompt]) -> Generator[Finished, None, None]:
        """Decode all prompts and pass each finished problem on; shards go to `put` when full or
        old, and at the end."""
        left = in_drawing_order(prompts)
        while left:
            done: set[str] = set()
            try:
                with contextlib.closing(self._attempt(left)) as stream:
                    for one in stream:
                        done.add(one.problem.id)
                        yield one
                self.flush()
                return
            except torch.OutOfMemoryError as error:
                left = [p for p in left if p.problem.id not in done]
                if self._halved or not left:
                    raise
                self._halve(str(error))
            free_cached_memory(self._model.device)

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
        room = (
            sys.maxsize
            if self._halved
            else room_for(prompts, self._model, self._config, self._execution)
        )
        self._used = min(self._budget, room)
        desk = set_up(
            prompts,
            self._model,
            self._config,
            budget=self._used,
            refill=self._execution.refill,
            shapes=self._shapes_of_the_run() if self._execution.compile else None,
            known=self._known,
        )
        self._known = Known(desk.recorder.null, desk.recorder.geometry)
        try:
            take_sum = desk.recorder.take_hidden_sum
            stream = decode(
                self._model,
                *desk,
                iter(prompts),
                self._phases,
                self._stop,
                between_steps=lambda: self._gathering.publish_if_due(take_sum),
            )
            for one in stream:
                self._gathering.add(one, take_sum)
                yield one
        finally:
            self._gathering.add_sum(desk.recorder.take_hidden_sum())

    def _shapes_of_the_run(self) -> Shapes:
        """What the first batch's budget and the run's longest row make; later batches get no larger
        a budget."""
        if self._shapes is None:
            self._budget = self._used
            longest = self._execution.longest_row or self._model.max_length
            gen_length = self._config.gen_length
            copies = 2 if self._config.cfg_scale > 0 else 1
            self._shapes = shapes_of(
                token_budget=self._used, longest=longest, gen_length=gen_length, copies=copies
            )
        return self._shapes


def _compiled(model: MaskedDiffusionModel) -> MaskedDiffusionModel:
    from ..models.compiled import compiled

    return compiled(model)


def _fused(model: MaskedDiffusionModel) -> MaskedDiffusionModel:
    from ..models.fused import fused

    return fused(model)
