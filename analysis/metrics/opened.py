"""What runs that are decoded block by block have beside others: positions that are open for a
while, and tokens that are revised.

Letters as in `block.py`.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np

ALSO = ("open_start", "open_end", "revised")
"""Variables that a run has or has not, and that every analysis of commits needs where it has."""


@dataclass(frozen=True, eq=False)
class Opened:
    """Which positions were open: `at` [N, T, P] bool, none at steps without a forward pass;
    `start` [N, T] the first of them, -1 where there is none."""

    at: np.ndarray
    start: np.ndarray

    @cached_property
    def ever(self) -> np.ndarray:
        """[N, P] bool: the position's block was opened."""
        return np.asarray(self.at.any(axis=1))

    @cached_property
    def end(self) -> np.ndarray:
        """[N] the position behind the last that was ever open."""
        positions = np.arange(self.at.shape[2])
        return np.asarray(np.where(self.ever, positions + 1, 0).max(axis=1, initial=0))

    @cached_property
    def first(self) -> np.ndarray:
        """[N, P] the first step that had the position open, T where none did."""
        return first_step(self.at)

    @cached_property
    def number(self) -> np.ndarray:
        """[N, P] the first position of the block that each position is of, -1 where it was never
        opened."""
        step = np.minimum(self.first, max(self.at.shape[1] - 1, 0))
        of_first = np.take_along_axis(self.start, step, axis=1)
        return np.asarray(np.where(self.ever, of_first, -1))

    def freeze(self, commit_step: np.ndarray) -> np.ndarray:
        """[N, P] `commit_step`, or the last step that had the position open."""
        steps = self.at.shape[1]
        return np.where(commit_step < steps, commit_step, last_step(self.at))

    def held_back(self, positions: np.ndarray) -> np.ndarray:
        """[N, T] bool: some of the `positions` [N, P] are opened, but at a later step."""
        later = np.where(positions & self.ever, self.first, -1).max(axis=1, initial=-1)
        return np.asarray(np.arange(self.at.shape[1]) < later[:, None])


@dataclass(frozen=True, eq=False)
class Revised:
    """`at` [N, T, P] bool: the step replaced a token. `first_commit` [N, P]: the step that put the
    first one there, T where none did."""

    at: np.ndarray
    first_commit: np.ndarray


def opened_between(start: np.ndarray, end: np.ndarray, n_positions: int) -> Opened:
    """From the recorded first open position and the one behind the last [N, T], -1 without a
    pass."""
    first = np.asarray(start)
    positions = np.arange(n_positions)
    inside = (positions >= first[:, :, None]) & (positions < np.asarray(end)[:, :, None])
    return Opened(inside & (first >= 0)[:, :, None], first)


def first_step(happens: np.ndarray) -> np.ndarray:
    """[N, P] the first step at which `happens` [N, T, P], T where it never does."""
    steps = happens.shape[1]
    first = happens.argmax(axis=1) if steps else 0
    return np.where(happens.any(axis=1), first, steps)


def last_step(happens: np.ndarray) -> np.ndarray:
    """[N, P] the last step at which `happens` [N, T, P], T where it never does."""
    steps = happens.shape[1]
    last = steps - 1 - np.flip(happens, axis=1).argmax(axis=1) if steps else 0
    return np.where(happens.any(axis=1), last, steps)


def latest_known(ids: np.ndarray) -> np.ndarray:
    """[N, T, P] each of `ids` [N, T, P], or where there is none (-1) the latest one before it."""
    steps = np.arange(ids.shape[1])
    own_step = np.where(ids >= 0, steps[:, None], 0)
    source = np.maximum.accumulate(own_step, axis=1)
    return np.take_along_axis(ids, source, axis=1)
