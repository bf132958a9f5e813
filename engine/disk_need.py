"""How much a run will put on the disk when it keeps whole trajectories, and a refusal with the arithmetic if it cannot.

Counts uncompressed bytes, so it never promises too much. Knows shapes, not models.
"""

from __future__ import annotations

import shutil
from pathlib import Path

from .config import ConfigError, RunConfig
from .models.loading import MaskedDiffusionModel

LARGEST_PROBLEM = 1 << 30
"""A shard is assembled in memory, so one problem's tensors must fit there several times over."""


def refuse_if_too_large(config: RunConfig, model: MaskedDiffusionModel, *, n_problems: int, out: Path) -> None:
    """Raise ConfigError if `--save-logits hidden|full` needs more disk than is free, or more memory than is sane."""
    if config.save_logits not in ("hidden", "full"):
        return
    rows, width = model.head_weight.shape
    last = width if config.save_logits == "hidden" else rows
    itemsize = model.head_weight.element_size()
    one = config.steps * config.gen_length * last * itemsize
    sum_text = (
        f"{config.steps} steps x {config.gen_length} positions x {last} "
        f"{'features' if config.save_logits == 'hidden' else 'vocabulary'} x {itemsize} bytes = {_gb(one)} a problem"
    )
    hint = (
        "--save-logits hidden keeps the same logits losslessly in less room"
        if config.save_logits == "full"
        else ("--save-logits topk keeps the 16 largest logits")
    )
    if one > LARGEST_PROBLEM and config.save_logits == "full":
        raise ConfigError(f"--save-logits full: {sum_text}, more than {_gb(LARGEST_PROBLEM)}; {hint}")
    existing = next(p for p in (out, *out.resolve().parents) if p.exists())
    free = shutil.disk_usage(existing).free
    if one * n_problems > free:
        raise ConfigError(
            f"--save-logits {config.save_logits}: {sum_text}, x {n_problems} problems = {_gb(one * n_problems)}, "
            f"but {_gb(free)} are free at {existing}; use --limit, another --out, or note that {hint}"
        )


def _gb(n_bytes: int) -> str:
    return f"{n_bytes / 1e9:.3g} GB"
