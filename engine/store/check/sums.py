"""Whether a sum of hidden states, in its shard or in a file of its own, can be that of its
problems.

At the first step every generated position is masked, so the pooled state of a problem is the mean
of its hidden states there, and the shard's sum has to be the sum of those means. Later steps are
not looked at. Shapes: N problems, G positions, D features.
"""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path

import h5py
import numpy as np

from ..format.elements import is_bfloat16, read_block
from ..write.hidden_sums import read_sum, read_sum_file

SLACK = {"float32": 1e-4, "bfloat16": 2.0**-6}
"""Of the largest value in the sum: what adding N * G numbers, and rounding the pooled states, may
move."""


def sum_faults(file: h5py.File, stored: dict[str, str]) -> list[str]:
    """What is wrong with `hidden_sum` beside `state_masked`; empty where one of them is not stored
    or undefined."""
    if not {"hidden_sum", "state_masked"} <= stored.keys():
        return []
    total = _first_step(file["hidden_sum"])
    states = _first_step(file["state_masked"], problems=True)
    return _faults_of(total, states, SLACK[stored["state_masked"]])


def sum_file_faults(path: Path, sound: Collection[str]) -> list[str]:
    """What is wrong with a file in `sums/`; beside its shards' states only where all of them are
    there and `sound`."""
    total = read_sum(path)[0].astype(np.float64)
    shards = read_sum_file(path).shards
    if not set(shards) <= set(sound):
        return []
    states = []
    for name in shards:
        with h5py.File(path.parent.parent / "shards" / name, "r") as file:
            states.append(_first_step(file["state_masked"], problems=True))
            is_wide = not is_bfloat16(file["state_masked"])
    return _faults_of(total, np.concatenate(states), SLACK["float32" if is_wide else "bfloat16"])


def _faults_of(total: np.ndarray, states: np.ndarray, slack: float) -> list[str]:
    """Of a sum [G, D] and its problems' pooled states [N, D], both at the first step."""
    if np.isnan(states).any():
        return []
    wrong = np.abs(total.mean(0) - states.sum(0)) > slack * (1 + np.abs(total).max())
    if not wrong.any() and np.isfinite(total).all():
        return []
    return [
        f"hidden_sum is not the sum over the shard's problems at step 0, in {int(wrong.sum())} of "
        "its features"
    ]


def _first_step(dataset: h5py.Dataset, *, problems: bool = False) -> np.ndarray:
    """[G, D] of a sum over problems, or [N, D] of a variable of each problem, as float64."""
    shape = dataset.shape
    start = (0,) * len(shape)
    count = (shape[0], 1, *shape[2:]) if problems else (1, *shape[1:])
    return np.asarray(read_block(dataset, start, count), np.float64).reshape(-1, shape[-1])
