"""Two runs over the same problems, compared problem by problem: the difference, its interval, a
test of no difference.

Runs of one problem set are paired: most problems come out alike in both, and only the others tell
the runs apart. Two separate intervals throw that away.

Where problems have several samples, sample k of one run is paired with sample k of the other, and
what is independent are problems: intervals have the effective number of pairs that the design
effect of the difference leaves, means Student's t with one degree of freedom less than problems,
and the test of no difference turns the sign of whole problems.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from ..groups import Groups
from ..means import deviation, mean_over_problems, spread_over_problems
from ..shares import wilson

NAN = float("nan")


class Paired(NamedTuple):
    """Second minus first, over `n` problems with a value in both; a 95 % interval, NaN where n is
    too small for one.

    `p` is two-sided, for no difference: McNemar's exact test for shares, Student's t for means.
    `only_first` and `only_second` count the problems (their samples, where they have several) that
    are a success in one run alone; None for means.
    """

    difference: float
    low: float
    high: float
    p: float
    n: int
    only_first: int | None = None
    only_second: int | None = None


def paired_shares(first: np.ndarray, second: np.ndarray, groups: Groups | None = None) -> Paired:
    """Compare 0/1 outcomes [row] of two runs; a row that is NaN in either is left out. `groups`:
    which rows are samples of one problem.

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
    if groups is not None and not groups.chosen(both).is_plain:
        return _clustered_shares(in_first, in_second, groups.chosen(both))

    table = Table(
        both=int((in_first & in_second).sum()),
        only_first=int((in_first & ~in_second).sum()),
        only_second=int((~in_first & in_second).sum()),
        neither=int((~in_first & ~in_second).sum()),
    )
    p = 1.0
    discordant = table.only_first + table.only_second
    if discordant:
        test = binomtest(int(table.only_first), int(discordant))
        p = float(test.pvalue)
    low, high = newcombe(table)
    return Paired(
        difference=(table.only_second - table.only_first) / n,
        low=low,
        high=high,
        p=p,
        n=n,
        only_first=int(table.only_first),
        only_second=int(table.only_second),
    )


def _clustered_shares(first: np.ndarray, second: np.ndarray, groups: Groups) -> Paired:
    """The same for outcomes [row] bool of which some are samples of one problem."""
    change = second.astype(np.float64) - first
    spread = spread_over_problems(change, groups)
    weight = groups.weight / spread.weight
    shares = Table(
        both=float(weight[first & second].sum()),
        only_first=float(weight[first & ~second].sum()),
        only_second=float(weight[~first & second].sum()),
        neither=float(weight[~first & ~second].sum()),
    )
    n = int(spread.n)
    difference = float(spread.mean)
    variance = shares.only_first + shares.only_second - difference**2
    of_mean = float(spread.squares / spread.weight**2)
    effective = float(n)
    if variance > 0:
        effective = min(variance / of_mean, len(change)) if of_mean > 0 else len(change)
    low, high = newcombe(Table(*(share * effective for share in shares)))
    return Paired(
        difference=difference,
        low=low,
        high=high,
        p=sign_flip_p(_whole_changes(change, groups)),
        n=n,
        only_first=int((first & ~second).sum()),
        only_second=int((~first & second).sum()),
    )


def _whole_changes(change: np.ndarray, groups: Groups) -> np.ndarray:
    """[problem] the sum of -1, 0 and 1 over the rows of each problem."""
    unweighted = Groups(groups.number, np.ones(len(groups)))
    return np.asarray(np.rint(unweighted.sums(change)), np.int64)


def sign_flip_p(changes: np.ndarray) -> float:
    """Two-sided p of "either sign is as likely for each problem", exact, for whole numbers
    `changes` [problem]: how often the sum is as far from 0 when signs are drawn (Fisher's
    randomisation test). Of changes of one size it is McNemar's exact test."""
    sizes = np.abs(changes[changes != 0])
    total = int(sizes.sum())
    chance = np.zeros(2 * total + 1)
    chance[total] = 1.0
    for size in sizes.tolist():
        moved = np.zeros_like(chance)
        moved[size:] += chance[:-size] / 2
        moved[:-size] += chance[size:] / 2
        chance = moved
    far = np.abs(np.arange(-total, total + 1)) >= abs(int(changes.sum()))
    return float(min(1.0, chance[far].sum()))


class Table(NamedTuple):
    """Pairs by outcome: success in both, in the first alone, in the second alone, in neither. Whole
    numbers, but for effective ones."""

    both: float
    only_first: float
    only_second: float
    neither: float


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


def paired_means(first: np.ndarray, second: np.ndarray, groups: Groups | None = None) -> Paired:
    """Compare a number per row [row] of two runs: mean difference with Student's interval and test.

    A row that is NaN in either is left out. With fewer than two problems left there is no interval.
    `groups`: which rows are samples of one problem.
    """
    from scipy.special import stdtr, stdtrit

    both = np.isfinite(first) & np.isfinite(second)
    changes = second[both] - first[both]
    n = len(changes)
    if n == 0:
        return Paired(NAN, NAN, NAN, NAN, n)
    mean = float(mean_over_problems(changes).mean)
    error = float(deviation(changes, ddof=1) / np.sqrt(n)) if n > 1 else NAN
    if groups is not None and not groups.chosen(both).is_plain:
        over_problems = mean_over_problems(changes, groups.chosen(both))
        mean = float(over_problems.mean)
        error = float(over_problems.stderr)
        n = int(over_problems.n)
    if n == 1:
        return Paired(mean, NAN, NAN, NAN, n)
    if error == 0:
        p = 1.0 if mean == 0 else 0.0
        return Paired(mean, mean, mean, p, n)

    half = float(stdtrit(n - 1, 0.975)) * error
    p = float(2 * stdtr(n - 1, -abs(mean) / error))
    return Paired(mean, mean - half, mean + half, p, n)
