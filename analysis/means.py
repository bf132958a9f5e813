"""Means over problems where some problems have no value: mean, standard error and n, never filled
in.

A problem is the unit of sampling throughout: steps of one trajectory are not independent, problems
are.

The mean of equal numbers can miss them by the last digit (three times 0.1 over 3), and the spread
about it is then not 0 but 1e-17. So everything is taken from the first number: equal numbers are
exactly 0 from it, and so are their mean and spread.
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
    origin = _first_finite(values, finite)
    with np.errstate(invalid="ignore", divide="ignore"):
        above = np.where(finite, values - origin, 0.0)
        mean = above.sum(axis=0) / n
        squares = np.where(finite, above - mean, 0.0) ** 2
        stderr = np.sqrt(squares.sum(axis=0) / np.where(n > 1, n - 1, np.nan) / n)
    return Mean(origin + mean, stderr, n)


def centred(values: np.ndarray) -> np.ndarray:
    """`values` [n, ...] less their mean over axis 0; exactly 0 where all are equal."""
    above = np.asarray(values - values[:1])
    return np.asarray(above - above.mean(axis=0))


def deviation(values: np.ndarray, *, ddof: int = 0) -> np.ndarray:
    """Standard deviation over axis 0 of finite `values` [n, ...], with n - `ddof`; exactly 0 where
    all are equal."""
    squares = (centred(values) ** 2).sum(axis=0)
    return np.asarray(np.sqrt(squares / (len(values) - ddof)))


def _first_finite(values: np.ndarray, finite: np.ndarray) -> np.ndarray:
    """The first finite one of `values` [n, ...] over axis 0; where there is none, any."""
    if not len(values):
        return np.zeros(values.shape[1:])
    first = finite.argmax(axis=0)[None]
    return np.asarray(np.take_along_axis(values, first, axis=0)[0])


class MeanOverBlocks:
    """The same for arrays too large to keep for all problems: blocks are merged as they come (Chan
    et al. 1979)."""

    def __init__(self, shape: tuple[int, ...]) -> None:
        self._n = np.zeros(shape, np.int64)
        self._origin = np.zeros(shape)
        self._mean = np.zeros(shape)
        self._squares = np.zeros(shape)

    def add(self, values: np.ndarray) -> None:
        """Merge `values` [problem, ...]; non-finite entries are left out."""
        finite = np.isfinite(values)
        n = finite.sum(axis=0)
        self._origin = np.where(self._n > 0, self._origin, _first_finite(values, finite))
        with np.errstate(invalid="ignore"):
            above = np.where(finite, values - self._origin, 0.0)
        mean = above.sum(axis=0) / np.maximum(n, 1)
        squares = (np.where(finite, above - mean, 0.0) ** 2).sum(axis=0)
        total = np.maximum(self._n + n, 1)
        shift = mean - self._mean
        self._squares += squares + np.where(n > 0, shift**2 * self._n * n / total, 0.0)
        self._mean += np.where(n > 0, shift * n / total, 0.0)
        self._n += n

    def result(self) -> Mean:
        """Mean, standard error and n of all that was added."""
        with np.errstate(invalid="ignore", divide="ignore"):
            stderr = np.sqrt(self._squares / np.where(self._n > 1, self._n - 1, np.nan) / self._n)
        mean = np.where(self._n > 0, self._origin + self._mean, np.nan)
        return Mean(mean, stderr, self._n.copy())
