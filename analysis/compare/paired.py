"""Two runs over the same problems, compared problem by problem: the difference, its interval, a
test of no difference.

Runs of one problem set are paired: most problems come out alike in both, and only the others tell
the runs apart. Two separate intervals throw that away.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from ..means import deviation, mean_over_problems
from ..shares import wilson

NAN = float("nan")


class Paired(NamedTuple):
    """Second minus first, over `n` problems with a value in both; a 95 % interval, NaN where n is
    too small for one.

    `p` is two-sided, for no difference: McNemar's exact test for shares, Student's t for means.
    `only_first` and `only_second` count the problems that are a success in one run alone; None for
    means.
    """

    difference: float
    low: float
    high: float
    p: float
    n: int
    only_first: int | None = None
    only_second: int | None = None


def paired_shares(first: np.ndarray, second: np.ndarray) -> Paired:
    """Compare 0/1 outcomes [problem] of two runs; a problem that is NaN in either is left out.

    Interval: R. G. Newcombe (1998), Stat. Med. 17, 2635, method 10 (Wilson limits squared and
    added, with the correlation of the pairs). Test: Q. McNemar (1947), exact: the discordant pairs
    are even odds (binomial).
    """
    from scipy.stats import binomtest

    both = np.isfinite(first) & np.isfinite(second)
    in_first = first[both] == 1
    in_second = second[both] == 1
    n = len(in_first)
    if not n:
        return Paired(NAN, NAN, NAN, NAN, n, only_first=0, only_second=0)

    table = Table(
        both=int((in_first & in_second).sum()),
        only_first=int((in_first & ~in_second).sum()),
        only_second=int((~in_first & in_second).sum()),
        neither=int((~in_first & ~in_second).sum()),
    )
    p = 1.0
    discordant = table.only_first + table.only_second
    if discordant:
        test = binomtest(table.only_first, discordant)
        p = float(test.pvalue)
    low, high = newcombe(table)
    return Paired(
        difference=(table.only_second - table.only_first) / n,
        low=low,
        high=high,
        p=p,
        n=n,
        only_first=table.only_first,
        only_second=table.only_second,
    )


class Table(NamedTuple):
    """Pairs by outcome: success in both, in the first alone, in the second alone, in neither."""

    both: int
    only_first: int
    only_second: int
    neither: int


def newcombe(table: Table) -> tuple[float, float]:
    """95 % interval of second minus first share, of a table with at least one pair (Newcombe 1998,
    method 10)."""
    n = sum(table)
    hits_first = table.both + table.only_first
    hits_second = table.both + table.only_second
    share_first = hits_first / n
    share_second = hits_second / n
    first = wilson(hits_first, n)
    second = wilson(hits_second, n)

    phi = _phi(table)
    below = _combined(share_second - second.low, first.high - share_first, phi)
    above = _combined(second.high - share_second, share_first - first.low, phi)
    difference = share_second - share_first
    return float(difference - below), float(difference + above)


def _combined(x: float, y: float, phi: float) -> float:
    """Length of the difference of two errors with correlation `phi`."""
    square = x**2 - 2 * phi * x * y + y**2
    return float(np.sqrt(max(0.0, square)))


def _phi(table: Table) -> float:
    """Correlation of the pairs; where it is positive, with the paper's continuity correction; 0
    where undefined."""
    a, b, c, d = table
    margins = (a + b) * (c + d) * (a + c) * (b + d)
    if not margins:
        return 0.0
    excess = float(a * d - b * c)
    if excess > 0:
        excess = max(excess - sum(table) / 2, 0.0)
    return float(excess / np.sqrt(float(margins)))


def paired_means(first: np.ndarray, second: np.ndarray) -> Paired:
    """Compare a number per problem [problem] of two runs: mean difference with Student's interval
    and test.

    A problem that is NaN in either is left out. With fewer than two left there is no interval.
    """
    from scipy.special import stdtr, stdtrit

    both = np.isfinite(first) & np.isfinite(second)
    changes = second[both] - first[both]
    n = len(changes)
    if n == 0:
        return Paired(NAN, NAN, NAN, NAN, n)
    mean = float(mean_over_problems(changes).mean)
    if n == 1:
        return Paired(mean, NAN, NAN, NAN, n)
    error = float(deviation(changes, ddof=1) / np.sqrt(n))
    if error == 0:
        p = 1.0 if mean == 0 else 0.0
        return Paired(mean, mean, mean, p, n)

    half = float(stdtrit(n - 1, 0.975)) * error
    p = float(2 * stdtr(n - 1, -abs(mean) / error))
    return Paired(mean, mean - half, mean + half, p, n)
