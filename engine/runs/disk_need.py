"""What a run will take of the disk, as named factors that follow from shapes; and a refusal with
the arithmetic where the disk is short."""

from __future__ import annotations

import math
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from ..config import ConfigError, RunConfig
from ..models.loading import MaskedDiffusionModel
from ..store.counts import count_text
from ..store.format.schema import CELL, stored_variables
from ..store.format.variable import ITEM_BYTES, Variable
from ..store.sizes import size_text
from ..store.write.hidden_sums import SMALL_BYTES, SUM_RATIO
from .execution import Limits
from .factors import Factor
from .gather import sum_bytes
from .memory import ANSWER_TOKENS
from .passes import passes_of

LARGEST_PROBLEM = 1 << 30
"""A shard is assembled in memory, so one problem's tensors must fit there several times over."""
MISSING = 0.005
MISSING_IN_NOISE = 0.125
"""Stored bytes for each raw byte of missing values: they repeat for ever, and take a bit a byte
where nobody looks for repeats."""
CHUNK_OVERHEAD = 30
ASKED_SCHEDULES = range(8)
"""Keys whose schedules say whether a policy draws them, where no prompt is made yet."""
SHARD_OVERHEAD = 130_000
"""Bytes of HDF5 indices for each chunk and each shard, measured on float32 runs of the bundled
model."""


class Workload(NamedTuple):
    """How much a run writes, and how it is cut into shards.

    `seconds` of decoding, where they are known: a slow run writes its shards before they are full.
    """

    n_problems: int
    limits: Limits
    n_answer: int = ANSWER_TOKENS
    workers: int = 1
    seconds: float = 0.0


class Copies(NamedTuple):
    """How many values of a variable a run stores: one for each problem, shard or file of sums."""

    problems: int
    shards: int
    sums: int

    def of(self, row: Variable) -> tuple[int, str]:
        """How many, and of what."""
        if not row.per_shard:
            return self.problems, "problems"
        return (self.sums, "files") if row.name == "hidden_sum" else (self.shards, "shards")


def disk_need(config: RunConfig, model: MaskedDiffusionModel, workload: Workload) -> list[Factor]:
    """The bytes that a run will take: one factor for each large variable, one for the rest."""
    stored = stored_variables(config)
    sizes = _dimension_sizes(config, model, workload.n_answer)
    items = ITEM_BYTES | {
        "model": model.dtype.itemsize,
        "logits": model.logits_dtype(config.logits_dtype).itemsize,
    }
    raw = {row.name: items[row.dtype] * row.size(sizes) for row in stored}
    of_problem = sum(raw[row.name] for row in stored if not row.per_shard)
    copies = _copies(workload, of_problem, sum_bytes(config, sizes["feature"]))

    chunks = len(stored) + (config.steps if config.save_logits in ("hidden", "full") else 0)
    rest = workload.n_problems * chunks * CHUNK_OVERHEAD + copies.shards * SHARD_OVERHEAD
    factors = []
    for row in stored:
        size = raw[row.name]
        times, things = copies.of(row)
        share = _stored_share(row, config)
        amount = share * times * size
        if not _is_large(row):
            rest += int(amount)
            continue
        product = " x ".join(_dimension_text(sizes[dim], dim) for dim in row.dims)
        how = (
            f"{product} x {count_text(items[row.dtype], 'byte')} = {size_text(size)}, "
            f"x {times} {things}, x {share:.2g} compressed"
        )
        factors.append(Factor(row.name, amount, how))
    shards = count_text(copies.shards, "shard")
    what = f"numbers by step and position, texts, indices of {shards}"
    return [*factors, Factor("all else", rest, what)]


def _dimension_sizes(
    config: RunConfig, model: MaskedDiffusionModel, n_answer: int
) -> dict[str, int]:
    vocabulary, width = model.head_weight.shape
    return {
        "step": config.steps,
        "other_step": config.steps,
        "position": config.gen_length,
        "answer_token": n_answer,
        "k": min(config.topk, vocabulary),
        "feature": width,
        "vocabulary": vocabulary,
    }


def _stored_share(row: Variable, config: RunConfig) -> float:
    """Stored bytes for each raw one. Of open blocks most cells are missing, and take almost
    nothing; the canvas alone is whole at every step."""
    if not config.of_blocks or row.name == "token":
        return row.stored_share
    if row.dims[:2] == CELL:
        filled = config.positions_at_once / config.gen_length
    elif row.name == "cka":
        filled = config.sampler.most_steps_in_block / config.steps
    else:
        return row.stored_share
    missing = MISSING_IN_NOISE if row.is_noise else MISSING
    return row.stored_share * min(1.0, filled) + missing


def _is_large(row: Variable) -> bool:
    """Whether a variable is a factor of its own, by its dimensions."""
    return len(row.dims) >= 3 or "feature" in row.dims


def _copies(workload: Workload, problem_bytes: int, sum_size: int) -> Copies:
    shards = _shards(workload, problem_bytes)
    sums = _sums(workload, problem_bytes, sum_size, shards)
    return Copies(workload.n_problems, shards, sums)


def _shards(workload: Workload, problem_bytes: int) -> int:
    if not workload.n_problems:
        return 0
    full = workload.n_problems / workload.limits.problems_per_shard(problem_bytes)
    aged = workload.workers * workload.seconds / workload.limits.seconds
    return min(workload.n_problems, max(math.ceil(full), math.ceil(aged), workload.workers))


def _sums(workload: Workload, problem_bytes: int, sum_size: int, shards: int) -> int:
    """How many groups of shards get a sum of their own: as many as outweigh it, one at least for
    each worker."""
    if not (shards and sum_size):
        return 0
    if sum_size <= SMALL_BYTES:
        return shards
    groups = math.ceil(workload.n_problems * problem_bytes / (SUM_RATIO * sum_size))
    return min(shards, max(groups, workload.workers))


def refuse_if_too_large(
    config: RunConfig, model: MaskedDiffusionModel, *, n_problems: int, out: Path, limits: Limits
) -> None:
    """Raise ConfigError if the run needs more disk than is free, or `--save-logits full` more
    memory than is sane.

    What the run directory already holds counts as done.
    """
    factors = disk_need(config, model, Workload(n_problems, limits))
    if config.save_logits == "full":
        _refuse_large_logits(config, model, factors)
    held = sum(path.stat().st_size for path in (out / "shards").glob("*.h5"))
    passes = passes_of(model, config, ASKED_SCHEDULES)
    needs = needs_text(at_most=passes.may_be_fewer)
    refuse_short_disk(factors, held=held, free=free_disk(out), out=out, needs=needs)


def _refuse_large_logits(
    config: RunConfig, model: MaskedDiffusionModel, factors: Sequence[Factor]
) -> None:
    cells = config.steps * config.gen_length
    problem_bytes = cells * len(model.head_weight) * model.head_weight.element_size()
    if problem_bytes <= LARGEST_PROBLEM:
        return
    (how,) = [factor.how for factor in factors if factor.name == "logits"]
    raise ConfigError(
        f"--save-logits full: {how}, more than {size_text(LARGEST_PROBLEM)} a problem; "
        "--save-logits hidden keeps the same logits losslessly in less room"
    )


def needs_text(*, at_most: bool) -> str:
    """How a refusal calls its number: a bound where problems may leave steps out."""
    return "may need up to" if at_most else "needs"


def refuse_short_disk(
    factors: Sequence[Factor], *, free: int, out: Path, held: int = 0, needs: str = "needs"
) -> None:
    """Raise ConfigError with the arithmetic if `factors`, less the bytes `held` already, exceed the
    `free` bytes. `needs` is of `needs_text`."""
    need = sum(factor.amount for factor in factors) - held
    if need <= free:
        return
    largest = sorted(factors, key=lambda factor: -factor.amount)[:3]
    lines = [f"  {factor.name}: {size_text(factor.amount)} = {factor.how}" for factor in largest]
    parts = "\n".join(lines)
    before = f" beyond the {size_text(held)} that are there" if held else ""
    raise ConfigError(
        f"this run {needs} {size_text(need)} of disk{before}, but {size_text(free)} are free at "
        f"{_existing(out)}; the largest parts:\n{parts}\n"
        "use --limit, another --out, or keep less (--save-logits topk or none, --no-mean-hidden)"
    )


def free_disk(out: Path) -> int:
    """Free bytes where `out` is or would be."""
    return shutil.disk_usage(_existing(out)).free


def _existing(out: Path) -> Path:
    """The nearest directory above `out` that is there."""
    return next(path for path in (out, *out.resolve().parents) if path.exists())


def _dimension_text(size: int, dim: str) -> str:
    if dim == "vocabulary":
        return f"{size} vocabulary"
    return count_text(size, "logit" if dim == "k" else dim.replace("_", " "))
