"""What a step tells about a label beyond what the first step told: I(X; Y | W), W the features of
the first step.

W is wide, so it enters through two reductions, either of which alone would do if it were exact: X
becomes its residual R after a cross-fitted ridge regression on W, which given W says the same as X;
and W becomes the stratum of its out-of-fold score for Y (the prognostic score, Hansen 2008,
Biometrika 95:481), some twenty problems each.

Value: chain rule I(X; Y | W) = I(X, W; Y) - I(W; Y), both terms as what a logistic regression on R
and the stratum makes of Y, in nats per problem; for the second Y is permuted within strata, which
keeps what the stratum says of Y and breaks what X adds, so that optimism cancels too. It is
V-information beyond a baseline (Hewitt et al. 2021, arXiv:2109.09234) of a linear family: it misses
what is not linear in normal scores.

Test: the score statistic U' V^-1 U / 2n of R in a logistic model with a constant for each stratum
(Mantel 1963, JASA 58:690), against the same permutations (local permutation test: Kim, Neykov,
Balakrishnan and Wasserman 2022, Ann. Statist. 50:3388). What both reductions miss of W counts as if
X had added it, in the product of their two errors (as in Shah and Peters 2020, Ann. Statist.
48:1514). Knows nothing of runs.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from .curves import Point, clustered_stderr
from .decoder import decode
from .folds import folds_of, permutations
from .ridge import Axes, axes_of, gcv, linear, log_probabilities, logistic
from .sample import generator, normal_scores
from .significance import PENALTIES

FOLDS = 5
STRATUM = 20
"""Problems in a stratum."""
RELABELLED = 20
"""Permutations within strata behind the second term of the chain rule."""
WEAK = 1e-3
"""Ridge penalty that keeps the logistic fit finite where labels separate, in units of one
standardised column."""


class _Fold(NamedTuple):
    held: np.ndarray
    axes: Axes
    train: np.ndarray
    test: np.ndarray


class Baseline:
    """The first step of n problems, w [n, d] with labels y [n], ready to be conditioned on.

    `permuted` [1 + B, n] is y and its permutations within strata, samples of one of `groups` [n]
    moved together.
    """

    def __init__(
        self, w: np.ndarray, y: np.ndarray, groups: np.ndarray, *, number: int, seed: int = 0
    ) -> None:
        self.y = y
        self.groups = groups
        score = decode(w, y, seed=seed, folds=FOLDS, groups=groups).score()[:, 0]
        self.strata = strata_of(score, groups)
        order = within(self.strata, number, seed, groups)
        self.permuted = np.concatenate([y[None], y[order]])
        fold = folds_of(np.zeros(len(y)), groups, FOLDS, generator(seed, "residual folds"))
        self._folds = [_fold(w, fold == number) for number in range(FOLDS)]

    def point(self, x: np.ndarray) -> Point:
        """I(x; y | w) in nats of one step's few features x [n, d], the same problems in the same
        order.

        The standard error is that of the mean of what x adds to each problem's log-likelihood, the
        fits taken as given.
        """
        residual = self.residual(normal_scores(x))
        stratum = normal_scores(self.strata[:, None])
        both = np.concatenate([residual, stratum], axis=1)
        with_x = _log_likelihood(both, self.y)
        chance = [
            _log_likelihood(both, labels).mean() for labels in self.permuted[1 : 1 + RELABELLED]
        ]
        stderr = clustered_stderr(with_x - _log_likelihood(stratum, self.y), self.groups)
        null = score_statistics(residual, self.strata, self.permuted)
        return Point(float(with_x.mean() - np.mean(chance)), stderr, null, False)

    def residual(self, x: np.ndarray) -> np.ndarray:
        """x [n, d] less its ridge prediction from w, out of fold, the penalty by generalised
        cross-validation."""
        found = np.empty_like(x)
        for fold in self._folds:
            kept = ~fold.held
            for column in range(x.shape[1]):
                penalty = gcv(fold.axes, fold.train, x[kept, column], PENALTIES * int(kept.sum()))
                predicted = linear(
                    fold.axes, fold.train, x[kept, column, None], fold.test, np.array([penalty])
                )
                found[fold.held, column] = x[fold.held, column] - predicted[0, :, 0]
        return found


def score_statistics(x: np.ndarray, strata: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """[B] U' V^-1 U / 2n of x [n, d] for labels [B, n] of 0 and 1 that are permutations of each
    other within strata.

    U = sum (x - mean of its stratum) (y - share of its stratum), V its variance over permutations
    within strata.
    """
    members = np.bincount(strata).astype(np.float64)
    share = np.bincount(strata, weights=labels[0]) / members
    mean = np.stack([np.bincount(strata, weights=column) / members for column in x.T], axis=1)
    inside = x - mean[strata]
    # Of members drawn without replacement: share (1 - share) n_s / (n_s - 1); a stratum of one does
    # not vary.
    spread = (share * (1 - share) * members / np.maximum(members - 1, 1))[strata]
    u = inside.T @ (labels - share[strata]).T
    v = (inside * spread[:, None]).T @ inside
    return (u * (np.linalg.pinv(v) @ u)).sum(axis=0) / (2 * len(x))


def strata_of(score: np.ndarray, groups: np.ndarray) -> np.ndarray:
    """[n] stratum of each row: whole groups in order of their mean score, `STRATUM` groups in
    each."""
    group = np.unique(groups, return_inverse=True)[1].reshape(-1)
    mean = np.bincount(group, weights=score) / np.bincount(group)
    rank = np.argsort(np.argsort(mean, kind="stable"))
    return (rank * max(2, len(mean) // STRATUM) // len(mean))[group]


def within(strata: np.ndarray, number: int, seed: int, groups: np.ndarray) -> np.ndarray:
    """[number, n] row numbers: permutations that keep every row in its stratum, and samples of a
    group together."""
    found = np.empty((number, len(strata)), np.int64)
    for stratum in np.unique(strata):
        rows = np.flatnonzero(strata == stratum)
        # A stream for each stratum: equal ones would permute all strata alike.
        found[:, rows] = rows[
            permutations(len(rows), number, seed * 1_000_003 + int(stratum), groups[rows])
        ]
    return found


def _log_likelihood(x: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """[n] log q(label | x) in nats of a logistic regression on the columns of x [n, d]."""
    axes = axes_of(x)
    at = axes.of(x)
    weights = logistic(at, labels, 2, axes.variance, np.array([WEAK]))
    return log_probabilities(at, weights)[0, np.arange(len(labels)), labels]


def _fold(w: np.ndarray, held: np.ndarray) -> _Fold:
    axes = axes_of(w[~held])
    return _Fold(held, axes, axes.of(w[~held]), axes.of(w[held]))
