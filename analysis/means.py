"""Means over problems where some problems have no value: mean, standard error and n, never filled
in.

A problem is the unit of sampling throughout: steps of one trajectory are not independent, problems
are.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np


class Mean(NamedTuple):
    """`mean` and `stderr` NaN where undefined (n = 0, n < 2); `n` int64; all shaped as one
    problem's values."""

    mean: np.ndarray
    stderr: np.ndarray
    n: np.ndarray


def mean_over_problems(values: np.ndarray) -> Mean:
    """Mean over axis 0 of the finite `values` [problem, ...], with standard error sd / sqrt(n), sd
    with n - 1."""
    finite = np.isfinite(values)
    n = finite.sum(axis=0)
    with np.errstate(invalid="ignore", divide="ignore"):
        mean = np.where(finite, values, 0.0).sum(axis=0) / n
        squares = np.where(finite, values - mean, 0.0) ** 2
        stderr = np.sqrt(squares.sum(axis=0) / np.where(n > 1, n - 1, np.nan) / n)
    return Mean(mean, stderr, n)


class MeanOverBlocks:
    """The same for arrays too large to keep for all problems: blocks are merged as they come (Chan
    et al. 1979)."""

    def __init__(self, shape: tuple[int, ...]) -> None:
        self._n = np.zeros(shape, np.int64)
        self._mean = np.zeros(shape)
        self._squares = np.zeros(shape)

    def add(self, values: np.ndarray) -> None:
        """Merge `values` [problem, ...]; non-finite entries are left out."""
        finite = np.isfinite(values)
        n = finite.sum(axis=0)
        mean = np.where(finite, values, 0.0).sum(axis=0) / np.maximum(n, 1)
        squares = (np.where(finite, values - mean, 0.0) ** 2).sum(axis=0)
        total = np.maximum(self._n + n, 1)
        shift = mean - self._mean
        self._squares += squares + np.where(n > 0, shift**2 * self._n * n / total, 0.0)
        self._mean += np.where(n > 0, shift * n / total, 0.0)
        self._n += n

    def result(self) -> Mean:
        """Mean, standard error and n of all that was added."""
        with np.errstate(invalid="ignore", divide="ignore"):
            stderr = np.sqrt(self._squares / np.where(self._n > 1, self._n - 1, np.nan) / self._n)
        return Mean(np.where(self._n > 0, self._mean, np.nan), stderr, self._n.copy())
