"""What a run will need: disk, memory, time as named factors; and a refusal with the arithmetic
where the disk is short.

Disk and memory follow from shapes; time from two timed steps on the device at hand. Knows shapes,
not results.
"""

from __future__ import annotations

import math
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from ..config import ConfigError, RunConfig
from ..models.loading import MaskedDiffusionModel
from ..prompts.prompt import Prompt
from ..store.format.schema import VARIABLES
from ..store.sizes import size_text
from ..store.write.hidden_sums import SMALL_BYTES, SUM_RATIO
from .device import room_for
from .execution import Execution, Limits, token_budget
from .gather import sum_bytes
from .memory import CHUNK_ROWS, footprint
from .timing import Timing, timed_steps

LARGEST_PROBLEM = 1 << 30
"""A shard is assembled in memory, so one problem's tensors must fit there several times over."""

STORED_SHARE = {
    "token": 0.03,
    "prediction": 0.03,
    "committed": 0.05,
    "topk_id": 0.125,
    "logprob": 0.45,
    "n_masked": 0.33,
    "hidden": 0.93,
    "logits": 0.93,
    "hidden_sum": 1.0,
}
"""Stored bytes per raw byte, as measured on float32 runs of the bundled model; whatever is not
listed: OTHER_SHARE."""
OTHER_SHARE = 0.78
CHUNK_OVERHEAD = 30
SHARD_OVERHEAD = 130_000
"""Bytes of HDF5 indices for each chunk and each shard, measured likewise."""

ITEM_BYTES = {"int32": 4, "float32": 4, "uint8": 1, "int8": 1, "str": 16}


class Factor(NamedTuple):
    """One named part of a need, and how it comes about."""

    name: str
    amount: float
    how: str


class Estimate(NamedTuple):
    """Parts in bytes (`disk`, `device_memory`) and seconds (`seconds`; empty where nothing was
    timed)."""

    disk: list[Factor]
    device_memory: list[Factor]
    seconds: list[Factor]
    free_disk: int
    out: Path

    @property
    def disk_bytes(self) -> float:
        return sum(f.amount for f in self.disk)

    @property
    def total_seconds(self) -> float | None:
        return sum(f.amount for f in self.seconds) if self.seconds else None


def disk_need(
    config: RunConfig,
    model: MaskedDiffusionModel,
    *,
    n_problems: int,
    limits: Limits,
    n_answer: int = 2,
    workers: int = 1,
    seconds: float = 0.0,
) -> list[Factor]:
    """The bytes that `n_problems` will take in shards: one factor for each large variable, one for
    the rest.

    `seconds` of decoding, where they are known: a slow run writes its shards before they are full.
    """
    rows, width = model.head_weight.shape
    sizes = {
        "step": config.steps,
        "other_step": config.steps,
        "position": config.gen_length,
        "answer_token": n_answer,
        "k": min(config.topk, rows),
        "feature": width,
        "vocabulary": rows,
    }
    items = ITEM_BYTES | {
        "model": model.dtype.itemsize,
        "logits": model.logits_dtype(config.logits_dtype).itemsize,
    }
    raw = {
        name: items[VARIABLES[name].dtype] * math.prod(sizes[dim] for dim in VARIABLES[name].dims)
        for name in _stored(config)
    }
    of_problem = sum(size for name, size in raw.items() if not VARIABLES[name].per_shard)
    n_shards = _shards(n_problems, of_problem, limits, workers=workers, seconds=seconds)
    n_sums = _sums(n_problems, of_problem, sum_bytes(config, width), n_shards, workers=workers)
    chunks = len(raw) + (config.steps if config.save_logits in ("hidden", "full") else 0)
    factors = []
    rest = n_problems * chunks * CHUNK_OVERHEAD + n_shards * SHARD_OVERHEAD
    for name, size in raw.items():
        row = VARIABLES[name]
        share = STORED_SHARE.get(name, OTHER_SHARE)
        times = n_problems
        what = "problems"
        if row.per_shard:
            times, what = (n_sums, "files") if name == "hidden_sum" else (n_shards, "shards")
        if len(row.dims) < 3 and "feature" not in row.dims:
            rest += int(share * times * size)
            continue
        product = " x ".join(f"{sizes[dim]} {_plural(dim)}" for dim in row.dims)
        how = (
            f"{product} x {items[row.dtype]} bytes = {size_text(size)}, x {times} {what}, x "
            f"{share:g} compressed"
        )
        factors.append(Factor(name, share * times * size, how))
    return [
        *factors,
        Factor(
            "all else", rest, f"numbers by step and position, texts, indices of {n_shards} shards"
        ),
    ]


def _shards(
    n_problems: int, problem_bytes: int, limits: Limits, *, workers: int, seconds: float
) -> int:
    if not n_problems:
        return 0
    full = n_problems / limits.problems_per_shard(problem_bytes)
    aged = workers * seconds / limits.seconds
    return min(n_problems, max(math.ceil(full), math.ceil(aged), workers))


def _sums(n_problems: int, problem_bytes: int, summed: int, n_shards: int, *, workers: int) -> int:
    """How many groups of shards get a sum of their own: as many as outweigh it, one at least for
    each worker."""
    if not (n_shards and summed):
        return 0
    if summed <= SMALL_BYTES:
        return n_shards
    groups = math.ceil(n_problems * problem_bytes / (SUM_RATIO * summed))
    return min(n_shards, max(groups, workers))


def _stored(config: RunConfig) -> list[str]:
    kept = {"topk": ("topk_id", "topk_logit"), "hidden": ("hidden", "topk_id", "topk_logit")}
    kept |= {"full": ("logits", "topk_id", "topk_logit"), "none": ()}
    wanted = {
        *kept[config.save_logits],
        *(("hidden_sum",) if config.mean_hidden else ()),
        "null_answer_logprob",
    }
    return [name for name, row in VARIABLES.items() if not row.optional or name in wanted]


def memory_need(
    config: RunConfig, model: MaskedDiffusionModel, *, capacity: int, tokens: int
) -> list[Factor]:
    """Bytes on the device for `capacity` rows and `tokens` packed tokens in flight."""
    need = footprint(config, model)
    item = model.dtype.itemsize
    weights = sum(p.numel() * p.element_size() for p in model.network.parameters())
    rows = capacity * config.gen_length
    chunk = min(CHUNK_ROWS, rows)
    how = (
        f"{capacity} rows x {config.steps} steps x {config.gen_length} positions x {need.cell} "
        "bytes"
    )
    ring = f"{rows} positions x {need.vocabulary} vocabulary x {need.logit_item} bytes"
    return [
        Factor("weights", weights, f"{weights / item / 1e6:.1f} million parameters x {item} bytes"),
        Factor("trajectories", capacity * need.row, how),
        Factor("activations", tokens * need.token, f"{tokens} packed tokens x {need.token} bytes"),
        Factor(
            "logits",
            need.chunk(rows),
            f"{chunk} rows x {need.vocabulary} vocabulary, six working copies",
        ),
        Factor(
            "step before",
            need.ring(capacity),
            ring if need.ring(capacity) else f"{ring}: too many to be kept",
        ),
        Factor(
            "a problem that leaves",
            need.finish,
            "its Gram matrices, working copies and columns on their way out",
        ),
        Factor(
            "sum of hidden states",
            need.hidden_sum,
            f"{need.steps} steps x {need.gen_length} positions x {need.width} features x 4 bytes",
        ),
    ]


def time_need(
    prompts: Sequence[Prompt], config: RunConfig, timing: Timing, *, workers: int
) -> list[Factor]:
    """Seconds of decoding at the timed rate."""
    rate, _, performed = timing
    work = sum(len(p.token_ids) + config.gen_length for p in prompts) * performed
    how = (
        f"{work:,} tokens ({performed} forward passes) / {rate:,.0f} tokens a second, timed / "
        f"{workers} workers"
    )
    return [Factor("decoding", work / rate / workers, how)]


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
    there = "cuda" if execution.on_gpu else model.device.type
    budget = token_budget(there, config, execution)
    workers = execution.workers
    seconds: list[Factor] = []
    if prompts and model.device.type == there:
        budget = min(budget, room_for(prompts, model, config, execution))
        timing = timed_steps(prompts, model, config, budget=budget)
        budget = timing.budget
        seconds = time_need(prompts, config, timing, workers=workers)

    longest = max((len(p.token_ids) for p in prompts), default=0) + config.gen_length
    shortest = min((len(p.token_ids) for p in prompts), default=0) + config.gen_length
    n_answer = max((len(p.answer_ids) for p in prompts), default=1)
    capacity = max(1, min(len(prompts), budget // max(shortest, 1)))
    every = sum(len(p.token_ids) + config.gen_length for p in prompts)
    tokens = max(longest, min(budget, every))
    limits = execution.limits
    if execution.distributed and prompts:  # a worker writes what it has when a batch ends
        limits = limits._replace(
            problems=max(1, min(limits.problems, budget * len(prompts) // every))
        )
    disk = disk_need(
        config,
        model,
        n_problems=len(prompts),
        limits=limits,
        n_answer=n_answer,
        workers=workers,
        seconds=sum(f.amount for f in seconds),
    )
    return Estimate(
        disk,
        memory_need(config, model, capacity=capacity, tokens=tokens),
        seconds,
        free_disk(out),
        out,
    )


def refuse_if_too_large(
    config: RunConfig, model: MaskedDiffusionModel, *, n_problems: int, out: Path, limits: Limits
) -> None:
    """Raise ConfigError if the run needs more disk than is free, or `--save-logits full` more
    memory than is sane.

    What the run directory already holds counts as done.
    """
    factors = disk_need(config, model, n_problems=n_problems, limits=limits)
    by_name = {f.name: f for f in factors}
    rows = len(model.head_weight)
    item = model.head_weight.element_size()
    one = config.steps * config.gen_length * rows * item
    if config.save_logits == "full" and one > LARGEST_PROBLEM:
        raise ConfigError(
            f"--save-logits full: {by_name['logits'].how}, more than {size_text(LARGEST_PROBLEM)} "
            "a problem; "
            "--save-logits hidden keeps the same logits losslessly in less room"
        )
    held = sum(path.stat().st_size for path in (out / "shards").glob("*.h5"))
    refuse_short_disk(factors, held=held, free=free_disk(out), out=out)


def refuse_short_disk(factors: Sequence[Factor], *, free: int, out: Path, held: int = 0) -> None:
    """Raise ConfigError with the arithmetic if `factors`, less the bytes `held` already, exceed the
    `free` bytes."""
    need = sum(f.amount for f in factors) - held
    if need <= free:
        return
    largest = sorted(factors, key=lambda f: -f.amount)[:3]
    parts = "\n".join(f"  {f.name}: {size_text(f.amount)} = {f.how}" for f in largest)
    before = f" beyond the {size_text(held)} that are there" if held else ""
    raise ConfigError(
        f"this run needs {size_text(need)} of disk{before}, but {size_text(free)} are free at "
        f"{_existing(out)}; "
        f"the largest parts:\n{parts}\nuse --limit, another --out, or keep less (--save-logits "
        "topk or none, "
        "--no-mean-hidden)"
    )


def free_disk(out: Path) -> int:
    """Free bytes where `out` is or would be."""
    return shutil.disk_usage(_existing(out)).free


def _existing(out: Path) -> Path:
    return next(p for p in (out, *out.resolve().parents) if p.exists())


def _plural(dim: str) -> str:
    return {"vocabulary": "vocabulary", "k": "logits"}.get(dim, f"{dim.replace('_', ' ')}s")
