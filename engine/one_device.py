"""What one device does with a list of prompts: pack, decode, publish; halve its token budget once if memory runs out.

Knows a writer and a model, not run directories, locks or other devices.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Generator, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from ..kernels.head import Head
from .canvas import Canvas, capacity_for
from .config import RunConfig
from .decode import decode
from .models.loading import MaskedDiffusionModel
from .policies import POLICIES
from .policies.llada import LLaDAPolicy
from .prompts import Prompt
from .record import Finished, Recorder
from .writer import stack_columns

TOKEN_BUDGET = {"cpu": 2048, "cuda": 16384}


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
    recorder = Recorder(model, config, capacity=capacity, n_answer=max(len(p.answer_ids) for p in prompts))
    return Desk(canvas, Head(model.head_weight, sampling=policy.sampling, guidance=config.cfg_scale), policy, recorder)


def by_length(prompts: Sequence[Prompt]) -> list[Prompt]:
    """Shortest first: rows of one length share attention calls."""
    return sorted(prompts, key=lambda p: len(p.token_ids))


def decode_and_publish(
    prompts: Sequence[Prompt],
    model: MaskedDiffusionModel,
    config: RunConfig,
    execution: Execution,
    put: Callable[[dict[str, Any]], None],
) -> Generator[Finished, None, None]:
    """Decode all prompts, hand full shards to `put`, and pass each finished problem on. Needs at least one prompt."""
    ordered = by_length(prompts)
    budget = token_budget(model.device.type, config, execution)
    desk = set_up(ordered, model, config, budget=budget, refill=execution.refill)
    finished = decode(model, *desk, iter(ordered))
    yield from _publish(finished, desk.recorder, put, config, execution)


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
