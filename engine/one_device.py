"""What one device does with a list of prompts: pack, decode, publish; halve its token budget once if memory runs out.

Knows a writer and a model, not run directories, locks or other devices.
"""

from __future__ import annotations

import contextlib
import logging
import sys
import time
from collections.abc import Callable, Generator, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import torch

from ..kernels.head import Head
from ..kernels.ring import LogitRing
from .canvas import Canvas, capacity_for
from .config import RunConfig
from .decode import decode
from .models.loading import MaskedDiffusionModel
from .null_beliefs import NullBeliefs
from .phases import Phases
from .policies import POLICIES
from .policies.llada import LLaDAPolicy
from .prompts import Prompt
from .record import Finished, Recorder
from .writer import stack_columns

logger = logging.getLogger(__name__)

TOKEN_BUDGET = {"cpu": 2048, "cuda": 16384}
SHARE_OF_FREE_MEMORY = 0.8


@dataclass(frozen=True)
class Execution:
    """How a run is executed; nothing in here changes a result beyond the stated rounding.

    More than one of `workers`, or the address of a `cluster`, means Ray; each worker has a device of its own.
    """

    device: str | None = None
    workers: int = 1
    cluster: str | None = None
    token_budget: int | None = None
    refill: bool = True
    shard_problems: int = 64
    shard_bytes: int = 128 << 20
    flush_seconds: float = 60.0

    @property
    def distributed(self) -> bool:
        return self.workers > 1 or self.cluster is not None

    @property
    def on_gpu(self) -> bool:
        return self.device is not None and self.device.startswith("cuda")


class Desk(NamedTuple):
    """All that a decoding step needs besides the model."""

    canvas: Canvas
    head: Head
    policy: LLaDAPolicy
    recorder: Recorder


def token_budget(device_type: str, config: RunConfig, execution: Execution) -> int:
    """Packed tokens of one forward pass that problems may fill; guidance sends every row through twice."""
    budget = execution.token_budget or TOKEN_BUDGET.get(device_type, TOKEN_BUDGET["cpu"])
    return budget // 2 if config.cfg_scale > 0 else budget


def set_up(
    prompts: Sequence[Prompt], model: MaskedDiffusionModel, config: RunConfig, *, budget: int, refill: bool = True
) -> Desk:
    """An empty canvas for these prompts, with head, policy and recorder to match."""
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
    )
    dtype = model.logits_dtype(config.logits_dtype)

    def head_with(ring: LogitRing | None) -> Head:
        sampling, guidance = policy.sampling, config.cfg_scale
        return Head(model.head_weight, sampling=sampling, guidance=guidance, ring=ring, logits_dtype=dtype)

    n_answer, null = max(len(p.answer_ids) for p in prompts), NullBeliefs(model, config, policy, head_with(None))
    recorder = Recorder(model, config, capacity=capacity, n_answer=n_answer, null=null)
    head = head_with(LogitRing.if_it_fits(capacity * config.gen_length, model.head_weight, dtype=dtype))
    return Desk(canvas, head, policy, recorder)


def by_length(prompts: Sequence[Prompt]) -> list[Prompt]:
    """Shortest first: rows of one length share attention calls."""
    return sorted(prompts, key=lambda p: len(p.token_ids))


def decode_and_publish(
    prompts: Sequence[Prompt],
    model: MaskedDiffusionModel,
    config: RunConfig,
    execution: Execution,
    put: Callable[[dict[str, Any]], None],
    *,
    phases: Phases | None = None,
) -> Generator[Finished, None, None]:
    """Decode all prompts, hand full shards to `put`, and pass each finished problem on. Needs at least one prompt."""
    phases = phases or Phases(model.device)
    left = by_length(prompts)
    budget = min(token_budget(model.device.type, config, execution), _room(left, model, config, execution))
    halved = False
    while True:
        done: set[str] = set()
        try:
            with contextlib.closing(_attempt(left, model, config, execution, put, budget, phases)) as stream:
                for one in stream:
                    done.add(one.problem.id)
                    yield one
            return
        except torch.OutOfMemoryError as error:
            left = [p for p in left if p.problem.id not in done]
            if halved or not left:
                raise
            budget, halved = max(1, budget // 2), True
            logger.warning("out of memory; going on with half the token budget, %d: %s", budget, str(error)[:200])
        if model.device.type == "cuda":
            torch.cuda.empty_cache()


def _attempt(
    ordered: Sequence[Prompt],
    model: MaskedDiffusionModel,
    config: RunConfig,
    execution: Execution,
    put: Callable[[dict[str, Any]], None],
    budget: int,
    phases: Phases,
) -> Generator[Finished, None, None]:
    desk = set_up(ordered, model, config, budget=budget, refill=execution.refill)
    yield from _publish(decode(model, *desk, iter(ordered), phases), desk.recorder, put, config, execution)


def _room(ordered: Sequence[Prompt], model: MaskedDiffusionModel, config: RunConfig, execution: Execution) -> int:
    """The token budget that free device memory allows; without a limit on a CPU or where somebody gave a budget."""
    if model.device.type != "cuda" or execution.token_budget is not None:
        return sys.maxsize
    free, _ = torch.cuda.mem_get_info(model.device)
    return budget_that_fits(
        free,
        config,
        width=model.head_weight.shape[1],
        item=model.head_weight.element_size(),
        mlp=model.network.config.intermediate_size,
        shortest=len(ordered[0].token_ids) + config.gen_length,
    )


def budget_that_fits(free: float, config: RunConfig, *, width: int, item: int, mlp: int, shortest: int) -> int:
    """Packed tokens whose trajectories and activations take four fifths of `free` bytes; at least one row's worth.

    `shortest` is the shortest row in tokens: every row keeps a whole trajectory, so short rows cost most per token.
    """
    row = config.steps * config.gen_length * (width * item + config.topk * (4 + item) + 4 * 12)
    token = row / shortest + (8 * width + 3 * mlp) * item
    return max(shortest, int(SHARE_OF_FREE_MEMORY * free / token))


def _publish(
    finished: Iterator[Finished],
    recorder: Recorder,
    put: Callable[[dict[str, Any]], None],
    config: RunConfig,
    execution: Execution,
) -> Generator[Finished, None, None]:
    """Pass finished problems on, and hand them over when a shard is full or old; the rest at the end, or on the way
    out when the run is interrupted."""
    pending: list[Finished] = []
    size, since = 0, time.perf_counter()

    def flush() -> None:
        if pending:
            put(_shard_columns(pending, recorder.take_hidden_sum(), config))
            pending.clear()

    try:
        for one in finished:
            pending.append(one)
            size += sum(v.nbytes for v in one.columns.values() if isinstance(v, np.ndarray))
            late = time.perf_counter() - since > execution.flush_seconds
            if len(pending) >= execution.shard_problems or size >= execution.shard_bytes or late:
                flush()
                size, since = 0, time.perf_counter()
            yield one
    finally:
        flush()


def _shard_columns(pending: list[Finished], hidden_sum: np.ndarray | None, config: RunConfig) -> dict[str, Any]:
    columns = stack_columns([f.columns for f in pending])
    columns["block"] = (np.arange(config.steps) // config.steps_per_block).astype(np.int32)
    if hidden_sum is not None:
        columns["hidden_sum"] = hidden_sum
    return columns
