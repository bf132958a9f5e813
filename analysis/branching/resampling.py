"""Means and intervals over problems: samples of one problem are averaged first, then problems are
drawn anew with replacement.

Decodings of one problem are not independent; problems are.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from ..groups import Groups
from ..limits import MIN_RESAMPLED
from ..shares import wilson_bounds

RESAMPLES = 2000
TAIL = 0.025
ALIKE = 1e-12
"""Spread below which values are all the same but for rounding."""


class Resampled(NamedTuple):
    """`mean`, `low`, `high` [...] and `n` [...], the number of problems; NaN where undefined."""

    mean: np.ndarray
    low: np.ndarray
    high: np.ndarray
    n: np.ndarray


def problem_means(values: np.ndarray, groups: np.ndarray) -> np.ndarray:
    """[problem, ...] mean over the decodings of each problem that have a value; NaN without one.

    `values` [decoding, ...], `groups` [decoding] names the problem of each; problems in the order
    of their first decoding.
    """
    of_problems = Groups.of(groups.tolist())
    finite = np.isfinite(values)
    weight = of_problems.sums(finite.astype(np.float64))
    total = of_problems.sums(np.where(finite, values, 0.0))
    with np.errstate(invalid="ignore"):
        return np.asarray(np.where(weight > 0, total / weight, np.nan))


def mean_interval(values: np.ndarray, *, seed: int) -> Resampled:
    """Mean over the finite `values` [problem, step] with its 95 % interval: the bootstrap of B.
    Efron (1987), JASA 82, 171 (BCa), 2 000 times over problems.

    The same draws of problems serve all steps. NaN below `MIN_RESAMPLED` problems, and where all
    values are the same: draws from one value say nothing about others.
    """
    finite = np.isfinite(values)
    filled = np.where(finite, values, 0.0)
    n = finite.sum(axis=0)
    with np.errstate(invalid="ignore", divide="ignore"):
        mean = filled.sum(axis=0) / n
    weights = _weights(len(values), seed)
    with np.errstate(invalid="ignore", divide="ignore"):
        resampled = (weights @ filled) / (weights @ finite.astype(np.float64))

    low = np.full(mean.shape, np.nan)
    high = np.full(mean.shape, np.nan)
    for step in range(len(mean)):
        column = values[finite[:, step], step]
        if len(column) >= MIN_RESAMPLED and np.ptp(column) > ALIKE:
            low[step], high[step] = _bca(column, resampled[:, step])
    return Resampled(mean, low, high, n)


def share_interval(values: np.ndarray) -> Resampled:
    """Mean over the finite `values` [problem, step], each from 0 to 1, with Wilson's interval.

    For values between 0 and 1, as where samples or ties are averaged, it is wider than need be: of
    all values with this mean, those that are 0 or 1 vary most.
    """
    finite = np.isfinite(values)
    n = finite.sum(axis=0)
    total = np.where(finite, values, 0.0).sum(axis=0)
    with np.errstate(invalid="ignore", divide="ignore"):
        mean = total / n
    low, high = wilson_bounds(total, n.astype(np.float64))
    return Resampled(mean, low, high, n)


def correlation_interval(values: np.ndarray, other: np.ndarray, *, seed: int) -> Resampled:
    """Spearman's correlation over problems of `values` and `other` [problem, step] at each step,
    with the 2.5 and 97.5 % quantiles of the bootstrap over problems.

    Ranks are taken anew in every draw. NaN below `MIN_RESAMPLED` problems with both values, and
    where either does not vary.
    """
    steps = values.shape[1]
    result = Resampled(
        mean=np.full(steps, np.nan),
        low=np.full(steps, np.nan),
        high=np.full(steps, np.nan),
        n=np.zeros(steps, np.int64),
    )
    for step in range(steps):
        both = np.isfinite(values[:, step]) & np.isfinite(other[:, step])
        n = int(both.sum())
        result.n[step] = n
        if n < MIN_RESAMPLED:
            continue
        pair = np.stack([values[both, step], other[both, step]])
        result.mean[step] = _spearman(pair)[()]
        if np.isfinite(result.mean[step]):
            drawn = np.random.default_rng(seed).integers(0, n, (RESAMPLES // 2, n))
            resampled = _spearman(np.moveaxis(pair[:, drawn], 0, -2))
            low, high = np.nanquantile(resampled, [TAIL, 1 - TAIL])
            result.low[step] = low
            result.high[step] = high
    return result


def _weights(n: int, seed: int) -> np.ndarray:
    """[resample, problem] how often each problem is drawn."""
    if not n:
        return np.zeros((RESAMPLES, 0))
    rng = np.random.default_rng(seed)
    return np.asarray(rng.multinomial(n, np.full(n, 1 / n), RESAMPLES), np.float64)


def _bca(values: np.ndarray, resampled: np.ndarray) -> tuple[float, float]:
    """The ends of Efron's interval for the mean of `values` [n] from its resampled means."""
    from scipy.special import ndtr, ndtri

    resampled = resampled[np.isfinite(resampled)]
    centred = values - values.mean()
    below = (resampled < values.mean()).mean() + (resampled == values.mean()).mean() / 2
    bias = ndtri(np.clip(below, 1 / len(resampled), 1 - 1 / len(resampled)))
    acceleration = (centred**3).sum() / (6 * (centred**2).sum() ** 1.5)
    tails = ndtri(np.array([TAIL, 1 - TAIL]))
    levels = ndtr(bias + (bias + tails) / (1 - acceleration * (bias + tails)))
    low, high = np.quantile(resampled, levels)
    return float(low), float(high)


def _spearman(pair: np.ndarray) -> np.ndarray:
    """[...] rank correlation of `pair` [..., 2, n]; NaN where either does not vary."""
    from scipy.stats import rankdata

    ranks = rankdata(pair, axis=-1)
    centred = ranks - ranks.mean(axis=-1, keepdims=True)
    spread = np.sqrt((centred**2).sum(axis=-1))
    product = (centred[..., 0, :] * centred[..., 1, :]).sum(axis=-1)
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.asarray(product / (spread[..., 0] * spread[..., 1]))
