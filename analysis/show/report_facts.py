"""What the report page says of the run as a whole: its settings, its size, its verdicts."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ...engine.store.drawing import coverage
from ..findings.about_run import whole_interval
from ..findings.accuracy import count
from ..shares import wilson

if TYPE_CHECKING:
    from ...engine.store import Run


def size_of(run: Run) -> tuple[int, int]:
    """Steps and positions of the run; as configured where no problem is finished yet."""
    if len(run):
        steps, positions = run["token"].shape[1:]
        return steps, positions
    config = run.info.get("config", {})
    return config.get("steps", 0), config.get("gen_length", 0)


def block_numbers(run: Run, steps: int) -> list[int]:
    """The block that each step works on."""
    recorded = np.asarray(run["block"][...]) if "block" in run else np.zeros(0)
    if not recorded.size:
        return [0] * steps
    return [int(block) for block in recorded.reshape(-1, steps)[0]]


def run_facts(run: Run, verdicts: np.ndarray, steps: int, positions: int) -> dict[str, Any]:
    """The page's head: where the run comes from, and how many problems came out how."""
    counts = count(verdicts)
    info = run.info
    config = info.get("config", {})
    held = coverage(run)
    accuracy = wilson(counts.correct, counts.graded)
    return {
        "run": Path(run.path).resolve().name,
        "created": str(info.get("created_at", "")),
        **_origin(info),
        "settings": _settings(config),
        "n_stored": len(verdicts),
        "n_missing": len(held.pending) + len(held.given_up),
        "unfinished": held.note,
        "scope": held.scope,
        "whole_interval": _rounded(whole_interval(run, counts, held)),
        "counts": counts._asdict(),
        "graded": counts.graded,
        "interval": None if math.isnan(accuracy.low) else _rounded((accuracy.low, accuracy.high)),
        "steps": int(steps),
        "positions": int(positions),
        "block_length": int(config.get("block_length") or positions or 1),
    }


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
