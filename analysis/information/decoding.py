"""A cross-fitted decoder of labels: a ridge logistic regression that scores rows it has not seen.

The penalty is chosen by cross-validation inside each training fold. The null that it is compared
with is the label frequencies of the same training fold, scored on the same rows.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from .folds import folds_of
from .ridge import PENALTIES, axes_of, log_probabilities, logistic
from .sample import generator

FOLDS = 5
INNER_FOLDS = 3


class Decoded(NamedTuple):
    """What each row's label was given by a decoder that had not seen it, in nats. `log_q`,
    `log_null` [n, labels]."""

    log_q: np.ndarray
    log_null: np.ndarray

    def gain(self, codes: np.ndarray) -> np.ndarray:
        """[n] log q(y_i | x_i) - log q0(y_i): pointwise V-information in nats (Ethayarajh et al.
        2022, eq. 4)."""
        rows = np.arange(len(codes))
        gain: np.ndarray = self.log_q[rows, codes] - self.log_null[rows, codes]
        return gain

    def score(self) -> np.ndarray:
        """[n, 1] the log odds of two labels, or [n, labels] log q less its mean over labels."""
        if self.log_q.shape[1] == 2:
            odds: np.ndarray = self.log_q[:, 1:] - self.log_q[:, :1]
            return odds
        centred: np.ndarray = self.log_q - self.log_q.mean(axis=1, keepdims=True)
        return centred


def decode(
    x: np.ndarray,
    codes: np.ndarray,
    *,
    seed: int = 0,
    folds: int = FOLDS,
    groups: np.ndarray | None = None,
) -> Decoded:
    """Cross-fit the decoder on x [n, d] and codes [n], rows of one of `groups` [n] in one fold.

    Raises ValueError if there are fewer rows than twice the folds.
    """
    n = len(x)
    labels = int(codes.max()) + 1
    if not 2 <= folds <= n // 2:
        raise ValueError(f"folds is {folds}; with {n} rows expected 2 to {n // 2}")
    rng = generator(seed, "folds")
    fold = folds_of(codes, groups, folds, rng)
    log_q = np.empty((n, labels))
    log_null = np.empty((n, labels))
    for number in range(folds):
        held = fold == number
        kept = ~held
        inside = None if groups is None else groups[kept]
        train = _Training(x[kept], codes[kept], labels)
        penalty = train.best_penalty(inside, rng)
        of_penalties = train.log_q(x[held], np.array([penalty]))
        log_q[held] = of_penalties[0]
        log_null[held] = np.log(frequencies(codes[kept], labels))
    return Decoded(log_q, log_null)


def frequencies(codes: np.ndarray, labels: int) -> np.ndarray:
    """[labels] shares of `codes`, half a row added to each so that none is 0 (Krichevsky and
    Trofimov 1981)."""
    members = np.bincount(codes, minlength=labels)
    shares: np.ndarray = (members + 0.5) / (len(codes) + 0.5 * labels)
    return shares


class _Training(NamedTuple):
    """The rows that a decoder learns from: x [n, d], codes [n] below `labels`."""

    x: np.ndarray
    codes: np.ndarray
    labels: int

    def log_q(self, new: np.ndarray, penalties: np.ndarray) -> np.ndarray:
        """[penalty, row, label] log q of rows `new` [rows, d]."""
        axes = axes_of(self.x)
        z = axes.of(self.x)
        weights = logistic(z, self.codes, self.labels, axes.variance, penalties)
        return log_probabilities(axes.of(new), weights)

    def best_penalty(self, groups: np.ndarray | None, rng: np.random.Generator) -> float:
        """The penalty with the least cross entropy over folds of these rows."""
        fold = folds_of(self.codes, groups, INNER_FOLDS, rng)
        loss = np.zeros(len(PENALTIES))
        for number in range(INNER_FOLDS):
            held = fold == number
            kept = ~held
            train = _Training(self.x[kept], self.codes[kept], self.labels)
            log_q = train.log_q(self.x[held], PENALTIES)
            codes = self.codes[held]
            rows = np.arange(len(codes))
            loss -= log_q[:, rows, codes].sum(axis=1)
        best = int(np.argmin(loss))
        return float(PENALTIES[best])
