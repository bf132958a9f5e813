"""A block of problems as the reductions see it: recorded variables plus what follows from the
commits.

Letters: N problems of the block, T steps, P generated positions, A gold answer tokens (padded).
Knows no metric.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

import numpy as np

from ...engine.store.read.tokens import run_tokens

_DIGITS = frozenset("0123456789")


class Block(NamedTuple):
    """Recorded variables of N problems and when each position was committed."""

    variables: Mapping[str, np.ndarray]
    performed: np.ndarray  # [N, T] bool: a forward pass ran
    commit_step: np.ndarray  # [N, P] step that committed the position, T where none did
    digits: np.ndarray = np.zeros(
        0, np.int64
    )  # ids of the tokens whose text begins with a digit, where known

    @property
    def masked(self) -> np.ndarray:
        """[N, T, P] bool: the forward pass of this step saw the position masked; the committing
        step still does."""
        steps = np.arange(self.performed.shape[1])
        return steps[None, :, None] <= self.commit_step[:, None, :]

    def at_performed(self, values: np.ndarray) -> np.ndarray:
        """`values` [N, T] with NaN at the steps that were not performed."""
        return np.where(self.performed, values, np.nan)


def read_block(columns: Mapping[str, np.ndarray], digits: np.ndarray | None = None) -> Block:
    """A `Block` from the columns of `run.blocks`; needs `performed` and `committed`. `digits`: see
    `digit_ids`."""
    committed = np.asarray(columns["committed"]) == 1
    steps = committed.shape[1]
    commit_step = np.where(committed.any(axis=1), committed.argmax(axis=1) if steps else 0, steps)
    known = np.zeros(0, np.int64) if digits is None else digits
    return Block(columns, np.asarray(columns["performed"]) == 1, commit_step, known)


def digit_ids(path: Path) -> np.ndarray:
    """Ids of the tokens of a run directory whose text begins with a digit; empty where it has no
    tokens.json."""
    texts = run_tokens(path)
    return np.array(
        sorted(int(token) for token, text in texts.items() if text[:1] in _DIGITS), np.int64
    )


def mean_where(values: np.ndarray, chosen: np.ndarray) -> np.ndarray:
    """Mean over the last axis of `values` [..., P] where `chosen`; NaN if none is, or if a chosen
    value is NaN."""
    total = np.where(chosen, values, 0.0).sum(axis=-1, dtype=np.float64)
    with np.errstate(invalid="ignore", divide="ignore"):
        return total / chosen.sum(axis=-1)


def frozen(values: np.ndarray, commit_step: np.ndarray) -> np.ndarray:
    """`values` [N, T, S] at S positions, each kept from its commit step on as it was at that step.

    The model is trained on masked positions only, so what it says about a committed one means
    nothing. `commit_step` [N, S]; T where the position is never committed.
    """
    steps = np.arange(values.shape[1])
    source = np.minimum(steps[None, :, None], commit_step[:, None, :])
    return np.take_along_axis(values, source, axis=1)


def previous_performed(performed: np.ndarray) -> np.ndarray:
    """[N, T] the latest performed step before each step, -1 where there is none."""
    steps = np.arange(performed.shape[1])
    latest = np.maximum.accumulate(np.where(performed, steps, -1), axis=1)
    return np.concatenate([np.full((len(performed), 1), -1), latest], axis=1)[:, :-1]
