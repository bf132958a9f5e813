"""How far an estimate may be trusted: standard error by subsampling, and drift with sample size and
k.

Standard error after Holmes and Nemenman 2019 (Phys. Rev. E 100:022404): the sample is split without
replacement into m parts, the variance between parts of size n/m is (B / n) m, B is fitted over m =
2 to 5 and the standard error at n is sqrt(B / n). Never a bootstrap: its duplicates give a
nearest-neighbour estimator .70 nats where there is nothing. The bias of an estimator is not in its
standard error, so the drift stands beside it: I(n) - I(n/5) and I(k=3) - I(k=10).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from ..wording import lacking
from .folds import parts_of
from .sample import generator

PARTS = (2, 3, 4, 5)
REPEATS = 4
DRIFT_K = (3, 5, 10)
LIMIT = 2.0
"""Standard errors of drift from which an estimate counts as limited by dimension."""

MIN_N = 100
MIN_MINORITY = 20


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
    stderr, smallest = _subsampled(lambda rows: nats(rows, k), n, seed, groups, repeats)
    by_k = tuple(value if one == k else nats(everyone, one) for one in DRIFT_K)
    drift_n = value - smallest
    largest = max(abs(drift_n), abs(by_k[0] - by_k[-1]))
    return Stability(value, stderr, drift_n, by_k, bool(largest > LIMIT * stderr))


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
    return _subsampled(nats, n, seed, groups, repeats)[0]


def _subsampled(
    nats: Callable[[np.ndarray], float], n: int, seed: int, groups: np.ndarray | None, repeats: int
) -> tuple[float, float]:
    rng = generator(seed, "parts")
    squares = 0.0
    degrees = 0
    smallest = []
    for _ in range(repeats):
        for parts in PARTS:
            part = parts_of(n, parts, rng, groups)
            values = np.array([nats(np.flatnonzero(part == number)) for number in range(parts)])
            known = values[np.isfinite(values)]
            if parts == PARTS[-1]:
                smallest.extend(known)
            if len(known) > 1:
                # Var at n/m is (B/n) m: each split of m parts estimates B/n with len(known) - 1
                # degrees of freedom.
                squares += float(((known - known.mean()) ** 2).sum()) / parts
                degrees += len(known) - 1
    stderr = float(np.sqrt(squares / degrees)) if degrees else float("nan")
    return stderr, float(np.mean(smallest)) if smallest else float("nan")


def insufficient(
    n: int, codes: np.ndarray | None = None, *, of: int | None = None, without: str = ""
) -> str:
    """Why no estimate should be made, or "": n below 100, or the rarest of the labels `codes` below
    20 rows.

    Of `of` problems that could have served, those that are missing are said to be `without`
    something.
    """
    if n < MIN_N:
        rest = f"{of - n} of {of} are without {without}" if of is not None and of > n else ""
        return lacking(n, MIN_N, "problems", rest=rest)
    if codes is None:
        return ""
    members = np.bincount(codes)
    members = members[members > 0]
    if len(members) < 2:
        return "all problems have the same outcome"
    fewest = int(members.min())
    return (
        lacking(fewest, MIN_MINORITY, "problems in the smallest class")
        if fewest < MIN_MINORITY
        else ""
    )
