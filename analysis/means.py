"""Means over problems where some problems have no value: mean, standard error and n, never filled
in.

A problem is the unit of sampling throughout: steps of one trajectory are not independent, nor are
samples of one problem; problems are. With several samples the mean is that of the rows, each
weighing one over the samples of its problem, so that each problem counts once, and the standard
error is cluster-robust: with e_g the weighted sum of the deviations from the mean over the rows of
problem g, and W the sum of the weights,

    SE = sqrt(n / (n - 1) * sum over g of e_g^2) / W

(the linearised error of a ratio, Cochran 1977, Sampling Techniques, section 2.11 and eq. 9A.25;
Liang and Zeger 1986, Biometrika 73, 13). With one sample each it is sd / sqrt(n).

The mean of equal numbers can miss them by the last digit (three times 0.1 over 3), and the spread
about it is then not 0 but 1e-17. So everything is taken from the first number: equal numbers are
exactly 0 from it, and so are their mean and spread.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from .groups import Groups


class Mean(NamedTuple):
    """`mean` and `stderr` NaN where undefined (n = 0, n < 2); `n` int64, of problems; all shaped as
    one row's values."""

    mean: np.ndarray
    stderr: np.ndarray
    n: np.ndarray


class Spread(NamedTuple):
    """Of a weighted mean: the sum over problems of e_g^2, the sum of the weights, and n."""

    mean: np.ndarray
    squares: np.ndarray
    weight: np.ndarray
    n: np.ndarray


def mean_over_problems(values: np.ndarray, groups: Groups | None = None) -> Mean:
    """Mean over axis 0 of the finite `values` [row, ...], with standard error sd / sqrt(n), sd
    with n - 1; by the formula above where some of `groups` have several rows."""
    if groups is not None and not groups.is_plain:
        return mean_of_spread(spread_over_problems(values, groups))
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


def spread_over_problems(values: np.ndarray, groups: Groups) -> Spread:
    """What the formula above is made of, for the finite `values` [row, ...]."""
    finite = np.isfinite(values)
    origin = _first_finite(values, finite)
    weights = groups.sums(finite.astype(np.float64))
    weight = weights.sum(axis=0)
    with np.errstate(invalid="ignore", divide="ignore"):
        above = np.where(finite, values - origin, 0.0)
        mean = groups.sums(above).sum(axis=0) / weight
        deviations = groups.sums(np.where(finite, above - mean, 0.0))
    squares = (deviations**2).sum(axis=0)
    return Spread(origin + mean, squares, weight, (weights > 0).sum(axis=0))


def mean_of_spread(spread: Spread) -> Mean:
    """The mean and its standard error."""
    n = spread.n
    with np.errstate(invalid="ignore", divide="ignore"):
        variance = spread.squares * n / np.where(n > 1, n - 1, np.nan)
        stderr = np.sqrt(variance) / spread.weight
    return Mean(np.asarray(spread.mean), np.asarray(stderr), np.asarray(n))


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


class MeanOverGroups:
    """The same where problems have several rows, which may come in different blocks: what is needed
    of a problem is kept until its last row has come.

    Of each problem that is complete three sums are kept, over problems, of its weighted sum S and
    weight V: S^2, S V and V^2, for sum (S - mean V)^2. S is of the values less those of the first
    row, so that little is lost by cancellation.
    """

    def __init__(self, shape: tuple[int, ...], groups: Groups) -> None:
        self._groups = groups
        self._missing = np.bincount(groups.number)
        self._open: dict[int, np.ndarray] = {}
        self._origin: np.ndarray | None = None
        self._totals = np.zeros((2, *shape))
        self._products = np.zeros((3, *shape))
        self._n = np.zeros(shape, np.int64)

    def add(self, values: np.ndarray, rows: np.ndarray) -> None:
        """Merge `values` [row, ...], those of these `rows` of the run; non-finite entries are left
        out."""
        if self._origin is None and len(values):
            self._origin = np.where(np.isfinite(values[0]), values[0], 0.0)
        for value, row in zip(values, rows.tolist(), strict=True):
            self._add_row(value - self._origin, row)

    def _add_row(self, value: np.ndarray, row: int) -> None:
        number = int(self._groups.number[row])
        finite = np.isfinite(value)
        part = np.stack([np.where(finite, value, 0.0), finite]) * self._groups.weight[row]
        self._open[number] = self._open.get(number, 0.0) + part
        self._missing[number] -= 1
        if not self._missing[number]:
            self._close(self._open.pop(number))

    def _close(self, sums: np.ndarray) -> None:
        total, weight = sums
        self._totals += sums
        self._products += np.stack([total**2, total * weight, weight**2])
        self._n += weight > 0

    def result(self) -> Mean:
        """Mean, standard error and n of all that was added."""
        total, weight = self._totals
        square, product, of_weight = self._products
        with np.errstate(invalid="ignore", divide="ignore"):
            shift = total / weight
        squares = square - 2 * shift * product + shift**2 * of_weight
        squares = np.maximum(squares, 0.0)  # rounding below zero, not an estimate
        origin = 0.0 if self._origin is None else self._origin
        return mean_of_spread(Spread(origin + shift, squares, weight, self._n.copy()))
