"""Shares of problems: the one rule by which any share is given its uncertainty, the Wilson score
interval.

A share has no `+-`: at 0 of 100 the standard error is 0 and says that the truth is known. E. B.
Wilson (1927), J. Am. Stat. Assoc. 22, 209; recommended over the textbook interval by Brown, Cai and
DasGupta (2001), Stat. Sci. 16, 101.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

Z = 1.959963984540054
"""The .975 quantile of the normal distribution."""


class Interval(NamedTuple):
    """A 95 % interval."""

    low: float
    high: float


def wilson(successes: int, n: int, *, whole: int | None = None) -> Interval:
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


def share_of(successes: int, n: int) -> str:
    """ "87.4 % (85.2 to 89.3)": a share in percent with its interval, or why there is none."""
    if n == 0:
        return "none of 0"
    low, high = wilson(successes, n)
    return percent(successes / n, low, high)


def percent(rate: float, low: float, high: float) -> str:
    """A share and its interval in percent, three digits each where they matter."""
    return f"{100 * rate:.3g} % ({100 * low:.3g} to {100 * high:.3g})"
