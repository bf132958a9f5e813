"""What a step tells about a label beyond what the first step told: I(X; Y | W), W the features of
the first step.

W is wide, so it enters through two reductions, either of which alone would do if it were exact:

- X becomes its residual R after a cross-fitted ridge regression on W, which given W says the same
  as X;
- W becomes the stratum of its out-of-fold score for Y (the prognostic score, Hansen 2008,
  Biometrika 95:481), some twenty problems each (strata.py).

Value: chain rule I(X; Y | W) = I(X, W; Y) - I(W; Y), both terms as what a logistic regression on R
and the stratum makes of Y, in nats per problem. For the second Y is permuted within strata, which
keeps what the stratum says of Y and breaks what X adds, so that optimism cancels too. It is
V-information beyond a baseline (Hewitt et al. 2021, arXiv:2109.09234) of a linear family: it misses
what is not linear in normal scores.

Test: the score statistic of strata.py against the same permutations. What both reductions miss of W
counts as if X had added it, in the product of their two errors (as in Shah and Peters 2020, Ann.
Statist. 48:1514).
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from .curve import Point
from .decoding import decode
from .folds import folds_of
from .ridge import Axes, axes_of, gcv, linear, log_probabilities, logistic
from .sample import generator, normal_scores
from .significance import PENALTIES
from .strata import score_statistics, strata_of, within
from .uncertainty import clustered_stderr

FOLDS = 5

RELABELLED = 20
"""Permutations within strata behind the second term of the chain rule."""

WEAK = 1e-3
"""Ridge penalty that keeps the logistic fit finite where labels separate, in units of one
standardised column."""


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
        decoded = decode(w, y, seed=seed, folds=FOLDS, groups=groups)
        self.strata = strata_of(decoded.score()[:, 0], groups)
        order = within(self.strata, number, seed, groups)
        self.permuted = np.concatenate([y[None], y[order]])
        rng = generator(seed, "residual folds")
        fold = folds_of(np.zeros(len(y)), groups, FOLDS, rng)
        self._folds = [_fold(w, fold == held) for held in range(FOLDS)]

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
        without_x = _log_likelihood(stratum, self.y)
        chance = []
        for labels in self.permuted[1 : 1 + RELABELLED]:
            chance.append(_log_likelihood(both, labels).mean())
        nats = float(with_x.mean() - np.mean(chance))
        stderr = clustered_stderr(with_x - without_x, self.groups)
        null = score_statistics(residual, self.strata, self.permuted)
        return Point(nats, stderr, null, False)

    def residual(self, x: np.ndarray) -> np.ndarray:
        """x [n, d] less its ridge prediction from w, out of fold, the penalty by generalised
        cross-validation."""
        residual = np.empty_like(x)
        for fold in self._folds:
            for column in range(x.shape[1]):
                values = x[:, column]
                predicted = fold.predicted(values)
                residual[fold.held, column] = values[fold.held] - predicted
        return residual


class _Fold(NamedTuple):
    """Rows `held` out, and the coordinates of the others (`train`) and of these (`test`)."""

    held: np.ndarray
    axes: Axes
    train: np.ndarray
    test: np.ndarray

    def predicted(self, x: np.ndarray) -> np.ndarray:
        """[rows held out] what the other rows predict of x [n]."""
        kept = x[~self.held]
        penalty = gcv(self.axes, self.train, kept, PENALTIES * len(kept))
        penalties = np.array([penalty])
        predictions = linear(self.axes, self.train, kept[:, None], self.test, penalties)
        of_held: np.ndarray = predictions[0, :, 0]
        return of_held


def _fold(w: np.ndarray, held: np.ndarray) -> _Fold:
    kept = ~held
    axes = axes_of(w[kept])
    train = axes.of(w[kept])
    test = axes.of(w[held])
    return _Fold(held, axes, train, test)


def _log_likelihood(x: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """[n] log q(label | x) in nats of a logistic regression on the columns of x [n, d]."""
    axes = axes_of(x)
    z = axes.of(x)
    penalties = np.array([WEAK])
    weights = logistic(z, labels, 2, axes.variance, penalties)
    log_q = log_probabilities(z, weights)[0]
    rows = np.arange(len(labels))
    of_labels: np.ndarray = log_q[rows, labels]
    return of_labels
