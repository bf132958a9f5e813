"""Shares of problems: the one rule by which any share is given its uncertainty, the Wilson score
interval.

A share has no `+-`: at 0 of 100 the standard error is 0 and says that the truth is known. E. B.
Wilson (1927), J. Am. Stat. Assoc. 22, 209; recommended over the textbook interval by Brown, Cai and
DasGupta (2001), Stat. Sci. 16, 101.

Where problems have several samples, Wilson's interval with the effective number of problems that
has the variance of the clustered share: n* = p (1 - p) / V, V = sum of e_g^2 / W^2 in the letters
of means.py (Kish 1965's design effect; for intervals Korn and Graubard 1998, Survey Methodology 24,
193, and Dean and Pagano 2015, J. Surv. Stat. Methodol. 3, 484). n* is never above the number of
samples. A share of 0 or 1 has no V: then n* is the number of problems, as if samples repeated each
other.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from .groups import Groups
from .means import spread_over_problems

Z = 1.959963984540054
"""The .975 quantile of the normal distribution."""


class Interval(NamedTuple):
    """A 95 % interval."""

    low: float
    high: float


def wilson(successes: float, n: float, *, whole: int | None = None) -> Interval:
    """95 % interval of a proportion; NaN for n = 0.

    Of problems like these; or, with `whole`, of a finite set of so many problems of which these n
    were drawn at random: then n counts as n (whole - 1) / (whole - n), the finite population
    correction of the variance (Cochran 1977, Sampling Techniques, eq. 2.11), and the interval
    shrinks to a point as n reaches the whole.
    """
    low, high = wilson_bounds(np.asarray(float(successes)), np.asarray(float(n)), whole=whole)
    return Interval(float(low), float(high))


def wilson_bounds(
    successes: np.ndarray, n: np.ndarray, *, whole: int | None = None
) -> tuple[np.ndarray, np.ndarray]:
    """`wilson` for arrays of one shape: lower and upper ends."""
    with np.errstate(invalid="ignore", divide="ignore"):
        share = successes / n
        if whole is not None:
            n = np.where(n >= whole, np.inf, n * (whole - 1) / (whole - n))
        weight = Z**2 / n
        centre = (share + weight / 2) / (1 + weight)
        half = np.sqrt(weight * share * (1 - share) + weight**2 / 4) / (1 + weight)
    # Rounding, not the formula, may leave the ends of 0 of n and n of n outside by one unit in the
    # last place.
    return np.where(successes == 0, 0.0 * share, centre - half), np.where(
        share == 1, share, centre + half
    )


class Share(NamedTuple):
    """Of 0/1 values, or of shares of each problem's samples: the rate, the number of problems, and
    the effective number that its interval counts; shaped as one row's values."""

    rate: np.ndarray
    n: np.ndarray
    effective: np.ndarray

    def bounds(self, *, counts_as: float = 1.0) -> np.ndarray:
        """[2, ...] the interval; `counts_as`: factor of the effective number, as of a finite
        population."""
        if counts_as == float("inf"):
            return np.stack([self.rate, self.rate])
        effective = self.effective * counts_as
        return np.stack(wilson_bounds(self.rate * effective, effective))


def share_over_problems(
    values: np.ndarray, groups: Groups, *, most: np.ndarray | None = None
) -> Share:
    """The share of the finite `values` [row, ...], each from 0 to 1, over problems with several
    rows. `most` [...]: what the effective number is never above, the number of rows unless given.
    """
    spread = spread_over_problems(values, groups)
    rate = spread.mean
    rows = np.isfinite(values).sum(axis=0) if most is None else most
    with np.errstate(invalid="ignore", divide="ignore"):
        variance = spread.squares / spread.weight**2
        effective = np.minimum(rate * (1 - rate) / variance, rows)
    is_certain = (rate <= 0) | (rate >= 1)
    effective = np.where(is_certain | (spread.n == 0), spread.n, effective)
    return Share(rate, spread.n, effective.astype(np.float64))


def finite_factor(part: float, whole: float) -> float:
    """What an effective number counts as where `part` of a finite `whole` was drawn at random, by
    the finite population correction (`wilson`); infinite where all of it was."""
    return float("inf") if part >= whole else (whole - 1) / (whole - part)


def share_of(successes: int, n: int) -> str:
    """ "87.4 % (85.2 to 89.3)": a share in percent with its interval, or why there is none."""
    if n == 0:
        return "none of 0"
    low, high = wilson(successes, n)
    return percent(successes / n, low, high)


def percent(rate: float, low: float, high: float) -> str:
    """A share and its interval in percent, three digits each where they matter."""
    return f"{100 * rate:.3g} % ({100 * low:.3g} to {100 * high:.3g})"
