"""What a run will need: disk, memory, time as named factors.

Disk and memory follow from shapes; time from two timed steps on the device at hand.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from ..config import RunConfig
from ..decoding.make_canvas import layout_of, row_tokens
from ..models.loading import MaskedDiffusionModel
from ..prompts.prompt import Prompt
from ..store.counts import count_text
from .device import room_for
from .disk_need import Workload, disk_need, free_disk
from .execution import Execution, Limits, token_budget
from .factors import Factor
from .memory import memory_need
from .passes import Passes, passes_of
from .timing import timed_steps


class Estimate(NamedTuple):
    """Parts in bytes (`disk`, `device_memory`) and seconds (`seconds`; empty where nothing was
    timed). `passes` of a problem: disk, and time under a free schedule, are upper bounds where they
    may be fewer."""

    disk: list[Factor]
    device_memory: list[Factor]
    seconds: list[Factor]
    free_disk: int
    out: Path
    passes: Passes

    @property
    def disk_at_most(self) -> bool:
        """Whether there is room for steps that problems may leave out: `disk_bytes` is a bound."""
        return self.passes.may_be_fewer

    @property
    def seconds_at_most(self) -> bool:
        """Whether the texts decide how many steps there are: `total_seconds` is a bound."""
        return self.passes.free

    @property
    def disk_bytes(self) -> float:
        """What the run will take of the disk."""
        return sum(factor.amount for factor in self.disk)

    @property
    def total_seconds(self) -> float | None:
        """How long it will decode; None where nothing was timed."""
        if not self.seconds:
            return None
        return sum(factor.amount for factor in self.seconds)


class Lengths(NamedTuple):
    """Of the rows that some prompts make, in tokens: the longest, the shortest, all together; and
    the longest of their answers."""

    longest: int
    shortest: int
    total: int
    answer: int


def estimate(
    prompts: Sequence[Prompt],
    model: MaskedDiffusionModel,
    config: RunConfig,
    execution: Execution,
    *,
    out: Path,
) -> Estimate:
    """All three needs of decoding `prompts`; times steps on the model's device, if the run's are
    like it.

    Of batches as large as a run's: within the token budget, and within what free memory allows.
    Writes nothing. Raises ConfigError where not even a step fits.
    """
    # The devices of the run, which are not this machine's where others have the GPUs.
    device = "cuda" if execution.on_gpu else model.device.type
    budget = token_budget(device, config, execution)
    lengths = _lengths(prompts, model, config)
    passes = passes_of(model, config, [prompt.key for prompt in prompts])
    seconds: list[Factor] = []
    if prompts and model.device.type == device:
        budget = min(budget, room_for(prompts, model, config, execution))
        timing = timed_steps(prompts, model, config, budget=budget, keeps=execution.cache)
        budget = timing.budget
        work = work_of(prompts, model, config, passes, keeps=execution.cache)
        seconds = time_need(work, passes, timing.rate, workers=execution.workers)

    capacity = max(1, min(len(prompts), budget // max(lengths.shortest, 1)))
    tokens = max(lengths.longest, min(budget, lengths.total))
    workload = Workload(
        n_problems=len(prompts),
        limits=_shard_limits(execution, len(prompts), budget=budget, total=lengths.total),
        n_answer=lengths.answer,
        workers=execution.workers,
        seconds=sum(factor.amount for factor in seconds),
    )
    return Estimate(
        disk_need(config, model, workload),
        memory_need(config, model, capacity=capacity, tokens=tokens, keeps=execution.cache),
        seconds,
        free_disk(out),
        out,
        passes,
    )


def _lengths(prompts: Sequence[Prompt], model: MaskedDiffusionModel, config: RunConfig) -> Lengths:
    of_rows = [row_tokens(model, config, len(prompt.token_ids)) for prompt in prompts]
    return Lengths(
        longest=max(of_rows, default=config.gen_length),
        shortest=min(of_rows, default=config.gen_length),
        total=sum(of_rows),
        answer=max((len(prompt.answer_ids) for prompt in prompts), default=1),
    )


def _shard_limits(execution: Execution, n_problems: int, *, budget: int, total: int) -> Limits:
    """When a shard is full. A worker beside others writes what it has when a batch ends."""
    limits = execution.limits
    if not (execution.distributed and n_problems):
        return limits
    of_batch = budget * n_problems // total
    return limits._replace(problems=max(1, min(limits.problems, of_batch)))


def work_of(
    prompts: Sequence[Prompt],
    model: MaskedDiffusionModel,
    config: RunConfig,
    passes: Passes,
    *,
    keeps: bool,
) -> float:
    """Tokens that go through the network for these prompts: each row once a pass, or of open blocks
    what passes bring of them at most. `keeps`: with a cache."""
    lengths = [len(prompt.token_ids) for prompt in prompts]
    layout = layout_of(model, config)
    if layout is None:
        return sum(row_tokens(model, config, length) for length in lengths) * passes.mean
    in_block = config.sampler.most_steps_in_block
    work = 0
    for length in lengths:
        steps = layout.most_steps(length, in_block=in_block, in_all=config.steps)
        work += layout.passed_tokens(length, steps, keeps=keeps)
    return work


def time_need(work: float, passes: Passes, rate: float, *, workers: int) -> list[Factor]:
    """Seconds of decoding in which so many tokens (`work`) go through the network, at the timed
    `rate` in tokens a second."""
    at_rate = f"{rate:,.0f} tokens a second, timed / {count_text(workers, 'worker')}"
    how = f"{work:,.0f} tokens ({passes}) / {at_rate}"
    return [Factor("decoding", work / rate / workers, how)]
