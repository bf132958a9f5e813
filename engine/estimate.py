"""What a run will need: disk, memory, time as named factors; and a refusal with the arithmetic where the disk is short.

Disk and memory follow from shapes; time from two timed steps on the device at hand. Knows shapes, not results.
"""

from __future__ import annotations

import math
import shutil
import time
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from .config import ConfigError, RunConfig
from .decode import decode_step
from .models.loading import MaskedDiffusionModel
from .one_device import Execution, by_length, set_up, token_budget
from .phases import Phases
from .prompts import Prompt
from .store.schema import VARIABLES

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
    "hidden_sum": 0.93,
}
"""Stored bytes per raw byte, as measured on float32 runs of the bundled model; whatever is not listed: OTHER_SHARE."""
OTHER_SHARE = 0.78
PROBLEM_OVERHEAD, SHARD_OVERHEAD = 4_500, 30_000
"""Bytes of HDF5 indices for each problem and each shard, measured likewise."""

ITEM_BYTES = {"int32": 4, "float32": 4, "uint8": 1, "int8": 1, "str": 16}
LOGIT_BYTES = {"float32": 4, "bfloat16": 2}
CHUNK_ROWS = 1024
TIMED_STEPS = 2


class Factor(NamedTuple):
    """One named part of a need, and how it comes about."""

    name: str
    amount: float
    how: str


class Estimate(NamedTuple):
    """Parts in bytes (`disk`, `device_memory`) and seconds (`seconds`; empty where nothing was timed)."""

    disk: list[Factor]
    device_memory: list[Factor]
    seconds: list[Factor]
    free_disk: int

    @property
    def disk_bytes(self) -> float:
        return sum(f.amount for f in self.disk)

    @property
    def total_seconds(self) -> float | None:
        return sum(f.amount for f in self.seconds) if self.seconds else None


def disk_need(
    config: RunConfig, model: MaskedDiffusionModel, *, n_problems: int, n_answer: int = 2, shard_problems: int = 64
) -> list[Factor]:
    """The bytes that `n_problems` will take in shards: one factor for each large variable, one for the rest."""
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
    own = model.head_weight.element_size()
    items = ITEM_BYTES | {"model": own, "logits": LOGIT_BYTES.get(config.logits_dtype, own)}
    n_shards = math.ceil(n_problems / shard_problems)
    factors, rest = [], n_problems * PROBLEM_OVERHEAD + n_shards * SHARD_OVERHEAD
    for name in _stored(config):
        row = VARIABLES[name]
        share = STORED_SHARE.get(name, OTHER_SHARE)
        times, what = (n_shards, "shards") if row.per_shard else (n_problems, "problems")
        amount = share * times * items[row.dtype] * math.prod(sizes[dim] for dim in row.dims)
        if len(row.dims) < 3:
            rest += int(amount)
            continue
        product = " x ".join(f"{sizes[dim]} {_plural(dim)}" for dim in row.dims)
        how = f"{product} x {items[row.dtype]} bytes = {gigabytes(amount / share / max(times, 1))}, x {times} {what}"
        factors.append(Factor(name, amount, f"{how}, x {share:g} compressed"))
    return [*factors, Factor("all else", rest, f"one and two dimensional variables, indices of {n_shards} shards")]


def _stored(config: RunConfig) -> list[str]:
    kept = {"topk": ("topk_id", "topk_logit"), "hidden": ("hidden", "topk_id", "topk_logit")}
    kept |= {"full": ("logits", "topk_id", "topk_logit"), "none": ()}
    wanted = {*kept[config.save_logits], *(("hidden_sum",) if config.mean_hidden else ())}
    return [name for name, row in VARIABLES.items() if not row.optional or name in wanted]


def memory_need(config: RunConfig, model: MaskedDiffusionModel, *, capacity: int, tokens: int) -> list[Factor]:
    """Bytes on the device: weights, trajectories of the rows in flight, activations, one chunk of logits."""
    (rows, width), item = model.head_weight.shape, model.head_weight.element_size()
    weights = sum(p.numel() * p.element_size() for p in model.network.parameters())
    cells = capacity * config.steps * config.gen_length
    kept = min(config.topk, rows) if config.save_logits != "none" else 0
    one = width * item + kept * (4 + item) + 4 * 12
    mlp = model.network.config.intermediate_size
    chunk = min(CHUNK_ROWS, capacity * config.gen_length)
    return [
        Factor("weights", weights, f"{weights / item / 1e6:.1f} million parameters x {item} bytes"),
        Factor(
            "trajectories",
            cells * one,
            f"{capacity} rows x {config.steps} steps x {config.gen_length} positions x {one} bytes",
        ),
        Factor(
            "activations",
            tokens * (8 * width + 3 * mlp) * item,
            f"{tokens} packed tokens x (8 x {width} + 3 x {mlp}) x {item} bytes",
        ),
        Factor("logits", chunk * rows * (4 * 4 + 2 * item), f"{chunk} rows x {rows} vocabulary, six working copies"),
    ]


def time_need(
    prompts: Sequence[Prompt], model: MaskedDiffusionModel, config: RunConfig, execution: Execution, *, workers: int = 1
) -> list[Factor]:
    """Seconds of decoding from timed steps of the largest batch that these prompts make, after one to warm up."""
    ordered = by_length(prompts)[::-1]
    desk = set_up(ordered, model, config, budget=token_budget(model.device.type, config, execution))
    waiting, taken = iter(ordered), 0.0
    tokens = 0
    for i in range(1 + TIMED_STEPS):
        if not desk.canvas.fill(waiting):
            break
        started = time.perf_counter()
        now = sum(desk.canvas.prompt_lengths) + len(desk.canvas.rows) * config.gen_length
        decode_step(model, *desk, Phases(model.device))
        if model.device.type == "cuda":
            import torch

            torch.cuda.synchronize(model.device)
        if i > 0 or not desk.canvas.rows:
            taken, tokens = taken + time.perf_counter() - started, tokens + now
    performed = sum(desk.policy.performed)
    work = sum(len(p.token_ids) + config.gen_length for p in prompts) * performed
    rate = tokens / taken
    how = f"{work:,} tokens ({performed} forward passes) / {rate:,.0f} tokens a second, timed / {workers} workers"
    return [Factor("decoding", work / rate / workers, how)]


def estimate(
    prompts: Sequence[Prompt],
    model: MaskedDiffusionModel,
    config: RunConfig,
    execution: Execution,
    *,
    out: Path,
    workers: int = 1,
) -> Estimate:
    """All three needs of decoding `prompts`; times two steps on the model's device. Writes nothing."""
    budget = token_budget(model.device.type, config, execution)
    longest = max((len(p.token_ids) for p in prompts), default=0) + config.gen_length
    shortest = min((len(p.token_ids) for p in prompts), default=0) + config.gen_length
    n_answer = max((len(p.answer_ids) for p in prompts), default=1)
    capacity = max(1, min(len(prompts), budget // max(shortest, 1)))
    tokens = max(longest, min(budget, sum(len(p.token_ids) + config.gen_length for p in prompts)))
    return Estimate(
        disk_need(config, model, n_problems=len(prompts), n_answer=n_answer, shard_problems=execution.shard_problems),
        memory_need(config, model, capacity=capacity, tokens=tokens * (2 if config.cfg_scale > 0 else 1)),
        time_need(prompts, model, config, execution, workers=workers) if prompts else [],
        free_disk(out),
    )


def refuse_if_too_large(config: RunConfig, model: MaskedDiffusionModel, *, n_problems: int, out: Path) -> None:
    """Raise ConfigError if the run needs more disk than is free, or `--save-logits full` more memory than is sane.

    What the run directory already holds counts as done.
    """
    factors = disk_need(config, model, n_problems=n_problems)
    by_name = {f.name: f for f in factors}
    rows, item = len(model.head_weight), model.head_weight.element_size()
    one = config.steps * config.gen_length * rows * item
    if config.save_logits == "full" and one > LARGEST_PROBLEM:
        raise ConfigError(
            f"--save-logits full: {by_name['logits'].how}, more than {gigabytes(LARGEST_PROBLEM)} a problem; "
            "--save-logits hidden keeps the same logits losslessly in less room"
        )
    held = sum(path.stat().st_size for path in (out / "shards").glob("*.h5"))
    need, free = sum(f.amount for f in factors) - held, free_disk(out)
    if need > free:
        largest = sorted(factors, key=lambda f: -f.amount)[:3]
        parts = "\n".join(f"  {f.name}: {gigabytes(f.amount)} = {f.how}" for f in largest)
        before = f" beyond the {gigabytes(held)} that are there" if held else ""
        raise ConfigError(
            f"this run needs {gigabytes(need)} of disk{before}, but {gigabytes(free)} are free at {_existing(out)}; "
            f"the largest parts:\n{parts}\nuse --limit, another --out, or keep less (--save-logits topk or none, "
            "--no-mean-hidden)"
        )


def free_disk(out: Path) -> int:
    """Free bytes where `out` is or would be."""
    return shutil.disk_usage(_existing(out)).free


def _existing(out: Path) -> Path:
    return next(p for p in (out, *out.resolve().parents) if p.exists())


def _plural(dim: str) -> str:
    return {"vocabulary": "vocabulary", "k": "logits"}.get(dim, f"{dim.replace('_', ' ')}s")


def gigabytes(n_bytes: float) -> str:
    """Decimal gigabytes, three digits."""
    return f"{n_bytes / 1e9:.3g} GB"
