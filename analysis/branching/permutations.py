"""Whether the answers of two states differ by more than two samples of one law would: their draws
are put together and dealt out anew.

If both states have the same answers in the same shares, every way of dealing the 2 R draws into two
hands of R is as likely as the one that was drawn. Largest values over steps serve for all of them
(max-T, Westfall and Young 1993).
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from ..information.significance import max_t
from .draws import Draws
from .entropy import miller_madow
from .resampling import problem_means

PERMUTATIONS = 199
SAME = 1e-9
"""Bits up to which two drops count as equal, after rounding."""


class Pivotal(NamedTuple):
    """The largest drop of H(A | x_t) between neighbouring steps of each decoding [N]: from `step`
    to `until` by `drop` bits (Miller-Madow). `p`: of a drop as large between any two neighbouring
    steps if no state differed from the next. -1 and NaN where not every step has all its draws.
    """

    step: np.ndarray
    until: np.ndarray
    drop: np.ndarray
    p: np.ndarray


class Dealt(NamedTuple):
    """[K] `p`: of the mean drop since the first step, corrected over steps; `mean`: the same drop
    when the draws are dealt out anew, whose expectation is 0; `error` its standard error."""

    p: np.ndarray
    mean: np.ndarray
    error: np.ndarray


def pivotal_steps(draws: Draws, *, seed: int) -> Pivotal:
    """The pivotal step of each decoding; the end, where the answer is known, counts as a step."""
    n = len(draws.label)
    result = Pivotal(
        step=np.full(n, -1, np.int32),
        until=np.full(n, -1, np.int32),
        drop=np.full(n, np.nan),
        p=np.full(n, np.nan),
    )
    if len(draws.steps) < 2:
        return result
    for row in np.flatnonzero(draws.is_complete.all(axis=1)):
        counts = draws.counts[row]
        drops = -np.diff(miller_madow(counts))
        place = int(drops.argmax())
        result.step[row] = draws.steps[place]
        result.until[row] = draws.steps[place + 1]
        result.drop[row] = drops[place]

        rng = np.random.default_rng([seed, int(row)])
        pairs = zip(counts[:-1], counts[1:], strict=True)
        dealt = np.stack([_dealt_drops(first, second, rng) for first, second in pairs])
        as_large = dealt.max(axis=0) >= drops[place] - SAME
        result.p[row] = (1 + as_large.sum()) / (1 + PERMUTATIONS)
    return result


def drop_since_first(draws: Draws, *, seed: int) -> Dealt:
    """Whether H(A | x_t) has fallen since the first of `draws.steps`, over problems; the last step,
    the end, is left out."""
    steps = len(draws.steps) - 1
    n = len(draws.label)
    values = np.full((n, steps, 1 + PERMUTATIONS), np.nan)
    complete = draws.is_complete
    for row in np.flatnonzero(complete[:, 0]):
        rng = np.random.default_rng([seed, int(row)])
        first = draws.counts[row, 0]
        for place in np.flatnonzero(complete[row, 1:-1]) + 1:
            second = draws.counts[row, place]
            values[row, place, 0] = miller_madow(first) - miller_madow(second)
            values[row, place, 1:] = _dealt_drops(first, second, rng)

    over_problems = problem_means(values, draws.groups)
    with np.errstate(invalid="ignore", divide="ignore"):
        finite = np.isfinite(over_problems)
        mean = np.where(finite, over_problems, 0.0).sum(axis=0) / finite.sum(axis=0)
    dealt = mean[:, 1:]
    error = dealt.std(axis=1, ddof=1) / np.sqrt(PERMUTATIONS)
    return Dealt(max_t(mean.T), dealt.mean(axis=1), error)


def _dealt_drops(first: np.ndarray, second: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """[permutation] H of one hand minus H of the other, of the draws counted in `first` and
    `second` [class]."""
    together = first + second
    seen = together > 0
    if seen.sum() == 1:
        return np.zeros(PERMUTATIONS)
    hand = rng.multivariate_hypergeometric(together[seen], int(first.sum()), PERMUTATIONS)
    return np.asarray(miller_madow(hand) - miller_madow(together[seen] - hand))
