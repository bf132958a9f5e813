"""Whether the sum of hidden states that lies beside a shard's problems can be theirs.

At the first step every generated position is masked, so the pooled state of a problem is the mean of its hidden states
there, and the shard's sum has to be the sum of those means. Later steps are not looked at. Shapes:
N problems, G positions, D features.
"""

from __future__ import annotations

import h5py
import numpy as np

from .element import read_block

SLACK = {"float32": 1e-4, "bfloat16": 2.0**-6}
"""Of the largest value in the sum: what adding N * G numbers, and rounding the pooled states, may move."""


def sum_faults(file: h5py.File, stored: dict[str, str]) -> list[str]:
    """What is wrong with `hidden_sum` beside `state_masked`; empty where one of them is not stored or undefined."""
    if not {"hidden_sum", "state_masked"} <= stored.keys():
        return []
    total, states = _first_step(file["hidden_sum"]), _first_step(file["state_masked"], problems=True)
    if np.isnan(states).any():
        return []
    wrong = np.abs(total.mean(0) - states.sum(0)) > SLACK[stored["state_masked"]] * (1 + np.abs(total).max())
    if not wrong.any() and np.isfinite(total).all():
        return []
    return [f"hidden_sum is not the sum over the shard's problems at step 0, in {int(wrong.sum())} of its features"]


def _first_step(dataset: h5py.Dataset, *, problems: bool = False) -> np.ndarray:
    """[G, D] of a sum over problems, or [N, D] of a variable of each problem, as float64."""
    shape = dataset.shape
    start, count = (0,) * len(shape), (shape[0], 1, *shape[2:]) if problems else (1, *shape[1:])
    return np.asarray(read_block(dataset, start, count), np.float64).reshape(-1, shape[-1])
