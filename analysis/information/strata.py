"""Strata of problems that look alike at the first step, permutations that stay within them, and the
statistic that these test.

It is the score statistic U' V^-1 U / 2n of features in a logistic model with a constant for each
stratum (Mantel 1963, JASA 58:690), tested against permutations within strata (local permutation
test: Kim, Neykov, Balakrishnan and Wasserman 2022, Ann. Statist. 50:3388).
"""

from __future__ import annotations

import numpy as np

from .folds import permutations

STRATUM = 20
"""Problems in a stratum."""


def strata_of(score: np.ndarray, groups: np.ndarray) -> np.ndarray:
    """[n] stratum of each row: whole groups in order of their mean score, `STRATUM` groups in
    each."""
    _, group = np.unique(groups, return_inverse=True)
    group = group.reshape(-1)
    mean = np.bincount(group, weights=score) / np.bincount(group)
    count = len(mean)
    order = np.argsort(mean, kind="stable")
    rank = np.argsort(order)
    number = max(2, count // STRATUM)
    stratum = rank * number // count
    of_rows: np.ndarray = stratum[group]
    return of_rows


def within(strata: np.ndarray, number: int, seed: int, groups: np.ndarray) -> np.ndarray:
    """[number, n] row numbers: permutations that keep every row in its stratum, and samples of a
    group together."""
    permuted = np.empty((number, len(strata)), np.int64)
    for stratum in np.unique(strata):
        rows = np.flatnonzero(strata == stratum)
        # A stream for each stratum: equal ones would permute all strata alike.
        stream = seed * 1_000_003 + int(stratum)
        order = permutations(len(rows), number, stream, groups[rows])
        permuted[:, rows] = rows[order]
    return permuted


def score_statistics(x: np.ndarray, strata: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """[B] U' V^-1 U / 2n of x [n, d] for labels [B, n] of 0 and 1 that are permutations of each
    other within strata.

    U = sum (x - mean of its stratum) (y - share of its stratum), V its variance over permutations
    within strata.
    """
    members = np.bincount(strata).astype(np.float64)
    share = np.bincount(strata, weights=labels[0]) / members
    means = []
    for column in x.T:
        total = np.bincount(strata, weights=column)
        means.append(total / members)
    mean = np.stack(means, axis=1)
    inside = x - mean[strata]

    # Of members drawn without replacement: share (1 - share) n_s / (n_s - 1); a stratum of one does
    # not vary.
    variance = share * (1 - share) * members / np.maximum(members - 1, 1)
    weighted = inside * variance[strata][:, None]
    surprise = labels - share[strata]
    u = inside.T @ surprise.T
    v = weighted.T @ inside
    solution = np.linalg.pinv(v) @ u
    statistics: np.ndarray = (u * solution).sum(axis=0) / (2 * len(x))
    return statistics
