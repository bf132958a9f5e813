"""How far an estimate may be trusted: standard error by subsampling, and drift with sample size and
k.

Standard error after Holmes and Nemenman 2019 (Phys. Rev. E 100:022404): the sample is split without
replacement into m parts, the variance between parts of size n/m is (B / n) m, B is fitted over m =
2 to 5 and the standard error at n is sqrt(B / n). Never a bootstrap: its duplicates give a
nearest-neighbour estimator .70 nats where there is nothing.

The bias of an estimator is not in its standard error, so the drift stands beside it: I(n) - I(n/5)
and I(k=3) - I(k=10).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from ..means import centred
from .folds import parts_of
from .sample import generator

PARTS = (2, 3, 4, 5)
REPEATS = 4
DRIFT_K = (3, 5, 10)

LIMIT = 2.0
"""Standard errors of drift from which an estimate counts as limited by dimension."""


class Stability(NamedTuple):
    """`stderr` in the unit of the values; `drift_n` = I(n) - mean I(n/5); `by_k` I for each k of
    `DRIFT_K`.

    `limited`: a drift beyond 2 standard errors, with n or between the smallest and the largest k.
    The value is then mostly bias of the estimator, for lack of points in so many dimensions.
    """

    value: float
    stderr: float
    drift_n: float
    by_k: tuple[float, ...]
    limited: bool


def stability(
    nats: Callable[[np.ndarray, int], float],
    n: int,
    *,
    k: int = 3,
    seed: int = 0,
    groups: np.ndarray | None = None,
    repeats: int = REPEATS,
) -> Stability:
    """Standard error and drift of `nats(rows, k)`, an estimate from the given rows; NaN where it
    has no value."""
    everyone = np.arange(n)
    value = nats(everyone, k)
    splits = _Splits(n, seed, groups, repeats)
    stderr, smallest = splits.spread(lambda rows: nats(rows, k))
    by_k = []
    for other in DRIFT_K:
        by_k.append(value if other == k else nats(everyone, other))
    drift_n = value - smallest
    drift_k = by_k[0] - by_k[-1]
    largest = max(abs(drift_n), abs(drift_k))
    return Stability(value, stderr, drift_n, tuple(by_k), bool(largest > LIMIT * stderr))


def subsampled_stderr(
    nats: Callable[[np.ndarray], float],
    n: int,
    *,
    seed: int = 0,
    groups: np.ndarray | None = None,
    repeats: int = REPEATS,
) -> float:
    """Standard error at n of `nats(rows)` by the fit above; NaN if no split has two parts with a
    value."""
    return _Splits(n, seed, groups, repeats).spread(nats)[0]


def clustered_stderr(values: np.ndarray, groups: np.ndarray) -> float:
    """Standard error of the mean of `values` [n] whose rows of one group are not independent; NaN
    for one group."""
    n = len(values)
    _, numbers = np.unique(groups, return_inverse=True)
    sums = np.bincount(numbers.reshape(-1), weights=centred(values))
    count = len(sums)
    if count < 2:
        return float("nan")
    variance = (sums**2).sum() * count / (count - 1)
    return float(np.sqrt(variance) / n)


class _Splits(NamedTuple):
    """Splits of n rows into 2 to 5 parts of whole `groups`, `repeats` times."""

    n: int
    seed: int
    groups: np.ndarray | None
    repeats: int

    def spread(self, nats: Callable[[np.ndarray], float]) -> tuple[float, float]:
        """(standard error at n, mean of the values of the smallest parts), NaN where unknown."""
        rng = generator(self.seed, "parts")
        squares = 0.0
        degrees = 0
        smallest: list[float] = []
        for parts in PARTS * self.repeats:
            values = self._values(nats, parts, rng)
            if parts == PARTS[-1]:
                smallest.extend(values)
            if len(values) > 1:
                # Var at n/m is (B/n) m: each split of m parts estimates B/n with len(values) - 1
                # degrees of freedom.
                squares += float((centred(values) ** 2).sum()) / parts
                degrees += len(values) - 1
        stderr = float(np.sqrt(squares / degrees)) if degrees else float("nan")
        mean = float(np.mean(smallest)) if smallest else float("nan")
        return stderr, mean

    def _values(
        self, nats: Callable[[np.ndarray], float], parts: int, rng: np.random.Generator
    ) -> np.ndarray:
        """Values of the parts of one split that have one."""
        part = parts_of(self.n, parts, rng, self.groups)
        values = np.array([nats(np.flatnonzero(part == number)) for number in range(parts)])
        known: np.ndarray = values[np.isfinite(values)]
        return known
