"""What the report page says of the run as a whole: its settings, its size, its verdicts."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ...engine.store.counts import count_text
from ...engine.store.drawing import coverage
from ..findings.about_run import accuracy_interval, whole_interval
from ..findings.accuracy import count
from ..groups import Groups
from ..metrics.block import end_step
from ..wording import blocks_text

if TYPE_CHECKING:
    from ...engine.store import Run


def size_of(run: Run) -> tuple[int, int]:
    """Steps and positions of the run: steps until the last problem has ended; as configured where
    no problem is finished yet."""
    if len(run):
        positions = run["token"].shape[2]
        ends = end_step(np.asarray(run["performed"][...]) == 1)
        return int(ends.max()) + 1, positions
    config = run.info.get("config", {})
    return config.get("steps", 0), config.get("gen_length", 0)


def block_numbers(run: Run, steps: int) -> list[int]:
    """The block that each step works on, -1 where it has none of its own."""
    if not run.info.get("config", {}).get("block_length"):
        return [-1] * steps
    recorded = np.asarray(run["block"][...]) if "block" in run else np.zeros(0)
    if not recorded.size:
        return [0] * steps
    return [int(block) for block in recorded.reshape(-1, _bound(run))[0][:steps]]


def _bound(run: Run) -> int:
    """Steps that a problem may take."""
    return int(run["performed"].shape[1])


def run_facts(run: Run, verdicts: np.ndarray, steps: int, positions: int) -> dict[str, Any]:
    """The page's head: where the run comes from, and how many problems came out how."""
    counts = count(verdicts)
    info = run.info
    config = info.get("config", {})
    held = coverage(run)
    groups = Groups.of(run.groups)
    low, high = accuracy_interval(verdicts, groups)
    return {
        "run": Path(run.path).resolve().name,
        "created": str(info.get("created_at", "")),
        **_origin(info),
        "settings": _settings(config),
        "n_stored": len(verdicts),
        "n_missing": len(held.pending) + len(held.given_up),
        "unfinished": held.note,
        "scope": held.scope,
        "whole_interval": _rounded(whole_interval(run, verdicts, held, groups)),
        "counts": counts._asdict(),
        "graded": counts.graded,
        "interval": None if math.isnan(low) else _rounded((low, high)),
        "steps": int(steps),
        "positions": int(positions),
        "block_length": int(config.get("block_length") or positions or 1),
        "canvas": _canvas_text(run, steps),
    }


def _canvas_text(run: Run, steps: int) -> str:
    """Steps, blocks, and whether predictions are read one position before."""
    blocks = blocks_text(int(run.info.get("config", {}).get("block_length") or 0))
    shifted = ", shifted model" if run.info.get("model", {}).get("read_offset") else ""
    return f"{_steps_text(run, steps)}, {blocks}{shifted}"


def _steps_text(run: Run, steps: int) -> str:
    """How many steps the problems took: one number, or from the fewest to the most."""
    if not len(run):
        return count_text(steps, "step")
    taken = end_step(np.asarray(run["performed"][...]) == 1) + 1
    low = int(taken.min())
    most = count_text(steps, "step")
    return f"{low} to {most}" if low < steps else most


def _origin(info: dict[str, Any]) -> dict[str, str]:
    model = info.get("model", {})
    return {
        "model": Path(str(model.get("path", "unknown model"))).name,
        "architecture": str(model.get("architecture", "")),
        "source": Path(str(info.get("data", {}).get("source", ""))).name,
    }


def _settings(config: dict[str, Any]) -> list[list[str]]:
    """Name and value of each setting, the model left out."""
    return [
        [name, "" if value is None else str(value)]
        for name, value in config.items()
        if name != "model"
    ]


def _rounded(interval: Sequence[float] | None) -> list[float] | None:
    return [round(end, 4) for end in interval] if interval else None
