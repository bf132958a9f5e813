"""Entropy in bits from counts of R draws, by three estimators that fail in different ways.

The plug-in is too low on average, never too high. Miller and Madow add its first-order bias; Chao
and Shen guess how much was never drawn from how much was drawn once.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np


class Entropies(NamedTuple):
    """One state's answers by each estimator, in bits; arrays of one shape."""

    miller_madow: np.ndarray
    chao_shen: np.ndarray
    plug_in: np.ndarray


ESTIMATORS = Entropies._fields
"""Names of the estimators, the one shown first in front."""


def entropies(counts: np.ndarray) -> Entropies:
    """All estimators of `counts` [..., class], how often each class was drawn; NaN without a
    draw."""
    return Entropies(miller_madow(counts), chao_shen(counts), plug_in(counts))


def plug_in(counts: np.ndarray) -> np.ndarray:
    """[...] bits: -sum p log2 p of the shares p = count / R.

    Its bias lies between -log2(1 + (K - 1) / R) and 0 for K classes (Paninski 2003, Neural
    Computation 15, 1191, proposition 1), and it is at most log2 R.
    """
    share = _shares(counts)
    return _summed(-share * _log2(share), counts)


def miller_madow(counts: np.ndarray) -> np.ndarray:
    """[...] bits: the plug-in plus (k - 1) / (2 R ln 2), k the classes that were drawn.

    G. A. Miller (1955), Note on the bias of information estimates. At most log2 R + (R - 1) /
    (2 R ln 2); still too low where many classes were never drawn.
    """
    seen = (counts > 0).sum(axis=-1)
    with np.errstate(divide="ignore", invalid="ignore"):
        correction = (seen - 1) / (2 * np.log(2) * counts.sum(axis=-1))
    return np.asarray(plug_in(counts) + correction)


def chao_shen(counts: np.ndarray) -> np.ndarray:
    """[...] bits: -sum q log2 q / (1 - (1 - q)^R), q = C count / R, C = 1 - f / R the estimated
    coverage, f the classes drawn once.

    A. Chao and T.-J. Shen (2003), Environmental and Ecological Statistics 10, 429.
    Where every draw is of another class C would be 0 and so the estimate; then, as in R's package
    `entropy`, f counts as R - 1.
    """
    draws = counts.sum(axis=-1, keepdims=True)
    once = (counts == 1).sum(axis=-1, keepdims=True)
    once = np.where(once == draws, draws - 1, once)
    with np.errstate(divide="ignore", invalid="ignore"):
        adjusted = (1 - once / draws) * _shares(counts)
        drawn = 1 - (1 - adjusted) ** draws
        terms = -adjusted * _log2(adjusted) / np.where(counts > 0, drawn, 1.0)
    return _summed(terms, counts)


def count_classes(labels: np.ndarray, classes: int) -> np.ndarray:
    """[..., class] how often each of the `classes` stands in `labels` [..., draw]; labels below 0
    are no draws."""
    counts = np.zeros((*labels.shape[:-1], classes), np.int64)
    flat = counts.reshape(-1, classes)
    rows, draws = np.nonzero(labels.reshape(-1, labels.shape[-1]) >= 0)
    np.add.at(flat, (rows, labels.reshape(-1, labels.shape[-1])[rows, draws]), 1)
    return counts


def most_bits(draws: int) -> float:
    """What `draws` draws can tell apart at most, in bits: the plug-in of draws that all differ."""
    return float(np.log2(draws)) if draws else 0.0


def _shares(counts: np.ndarray) -> np.ndarray:
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.asarray(counts / counts.sum(axis=-1, keepdims=True))


def _log2(share: np.ndarray) -> np.ndarray:
    """log2, 0 for 0: a class without a draw adds nothing."""
    positive = np.where(share > 0, share, 1.0)
    return np.asarray(np.log2(positive))


def _summed(terms: np.ndarray, counts: np.ndarray) -> np.ndarray:
    """The terms added up, without -0; NaN where nothing was drawn."""
    total = np.where(counts > 0, terms, 0.0).sum(axis=-1) + 0.0
    return np.asarray(np.where(counts.sum(axis=-1) > 0, total, np.nan))
