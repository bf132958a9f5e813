"""Runs in memory whose problems end at steps of their own, as under a free schedule. Loaded by
path."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

PER_STEP = (
    "logprob",
    "margin",
    "entropy",
    "kl",
    "answer_logprob",
    "cka_masked",
    "cka_committed",
    "state_masked",
    "state_answer",
)


def end_at(columns: dict[str, np.ndarray], ends: Sequence[int]) -> dict[str, np.ndarray]:
    """`columns` with the last forward pass of each problem at `ends`: what was committed later is
    committed there, and behind it nothing is recorded."""
    columns = {name: np.array(values) for name, values in columns.items()}
    for row, end in enumerate(ends):
        late = columns["committed"][row, end:].any(axis=0)
        columns["committed"][row, end:] = 0
        columns["committed"][row, end] = late
        columns["performed"][row, end + 1 :] = 0
        columns["n_forwards"][row] = end + 1
        columns["n_masked"][row, end + 1 :] = -1
        columns["prediction"][row, end + 1 :] = -1
        columns["token"][row, end + 1 :] = columns["token"][row, end]
        columns["cka"][row, end + 1 :] = np.nan
        columns["cka"][row, :, end + 1 :] = np.nan
        for name in PER_STEP:
            columns[name][row, end + 1 :] = np.nan
    return columns


def leave_masked(columns: dict[str, np.ndarray], row: int, positions: Sequence[int]) -> None:
    """Take back the commits of these positions of one problem: its policy stopped before them."""
    columns["committed"][row][:, list(positions)] = 0
