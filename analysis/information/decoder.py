"""A lower bound of the information of many features about a label: what a cross-fitted decoder
gains over guessing.

For any q, I(X; Y) >= H(Y) - CE(q) where q is scored on rows it has not seen (Barber and Agakov
2003; V-information, Xu et al. 2020, arXiv:2002.10689). q is a ridge logistic regression, its
penalty chosen by cross-validation inside each training fold; the null q0 is the label frequencies
of the same training fold, scored on the same rows: I_V = <log q(y|x) - log q0(y)>. Held out it is
low rather than high; it misses what is not linear in the features.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from .folds import folds_of
from .ridge import PENALTIES, axes_of, log_probabilities, logistic
from .sample import NATS, Estimate, generator, label_entropy, labelled

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
        return self.log_q[rows, codes] - self.log_null[rows, codes]

    def score(self) -> np.ndarray:
        """[n, 1] the log odds of two labels, or [n, labels] log q less its mean over labels."""
        if self.log_q.shape[1] == 2:
            return self.log_q[:, 1:] - self.log_q[:, :1]
        return self.log_q - self.log_q.mean(axis=1, keepdims=True)


def decoder(
    x: np.ndarray,
    y: np.ndarray,
    *,
    seed: int = 0,
    folds: int = FOLDS,
    groups: np.ndarray | None = None,
) -> Estimate:
    """Lower bound of I(x; y) in bits for x [n] or [n, d], labels y [n]; rows of one of `groups` [n]
    share a fold."""
    sample = labelled(x, y)
    found = decode(
        sample.x,
        sample.codes,
        seed=seed,
        folds=folds,
        groups=None if groups is None else np.asarray(groups)[sample.kept],
    )
    bits = float(found.gain(sample.codes).mean()) / NATS
    return Estimate(
        bits,
        len(sample.x),
        0,
        sample.x.shape[1],
        label_entropy(sample.codes) / NATS,
        sample.warnings,
    )


def decode(
    x: np.ndarray,
    codes: np.ndarray,
    *,
    seed: int = 0,
    folds: int = FOLDS,
    groups: np.ndarray | None = None,
) -> Decoded:
    """Cross-fit the decoder on x [n, d] and codes [n]. ValueError if there are fewer rows than
    twice the folds."""
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
        inside = None if groups is None else groups[~held]
        penalty = _best_penalty(x[~held], codes[~held], labels, inside, rng)
        log_q[held] = _fit_and_score(x[~held], codes[~held], labels, x[held], penalty[None])[0]
        log_null[held] = np.log(frequencies(codes[~held], labels))
    return Decoded(log_q, log_null)


def frequencies(codes: np.ndarray, labels: int) -> np.ndarray:
    """[labels] shares of `codes`, half a row added to each so that none is 0 (Krichevsky and
    Trofimov 1981)."""
    return (np.bincount(codes, minlength=labels) + 0.5) / (len(codes) + 0.5 * labels)


def _best_penalty(
    x: np.ndarray,
    codes: np.ndarray,
    labels: int,
    groups: np.ndarray | None,
    rng: np.random.Generator,
) -> np.ndarray:
    fold = folds_of(codes, groups, INNER_FOLDS, rng)
    loss = np.zeros(len(PENALTIES))
    for number in range(INNER_FOLDS):
        held = fold == number
        log_q = _fit_and_score(x[~held], codes[~held], labels, x[held], PENALTIES)
        loss -= log_q[:, np.arange(int(held.sum())), codes[held]].sum(axis=1)
    return PENALTIES[int(np.argmin(loss))]


def _fit_and_score(
    x: np.ndarray, codes: np.ndarray, labels: int, new: np.ndarray, penalties: np.ndarray
) -> np.ndarray:
    axes = axes_of(x)
    weights = logistic(axes.of(x), codes, labels, axes.variance, penalties)
    return log_probabilities(axes.of(new), weights)
