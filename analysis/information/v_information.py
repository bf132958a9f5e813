"""Pointwise V-information from the model's own beliefs: by how much the state makes it surer of
what came out.

PVI_i = log q(y_i | x_i) - log q(y_i | null), averaged (Ethayarajh et al. 2022, arXiv:2110.08420,
eq. 4). q is the model itself, so nothing is fitted. The null input is the prompt without the
question; where no null beliefs are given, the label frequencies of the other rows stand in for
them. A model that is confident and wrong has negative information.
"""

from __future__ import annotations

import numpy as np

from .decoder import frequencies
from .sample import NATS, Estimate, codes_of, columns, same_length


def pvi(x: np.ndarray, y: np.ndarray, *, seed: int = 0, null: np.ndarray | None = None) -> Estimate:
    """Mean PVI in bits.

    x: natural log-probabilities, [n, labels] with y [n] whole numbers that choose the column; or
    [n], those of the observed answers, and then `null` [n] is needed. `null`: log-probabilities
    under the null input, [labels] or as x. The ceiling is the cross-entropy of the null beliefs.
    Nothing is drawn; `seed` is there as in every estimator.
    """
    beliefs = _log_probabilities(x, "x")
    if beliefs.shape[1] == 1:
        if null is None:
            raise ValueError(
                "x of shape [n] needs null: the log-probabilities of the same answers without the "
                "question"
            )
        same_length(beliefs, np.asarray(y))
        base = _log_probabilities(null, "null")
        observed, before = (part[:, 0] for part in same_length(beliefs, base))
    else:
        rows = np.arange(len(beliefs))
        codes = _codes(y, beliefs)
        observed = beliefs[rows, codes]
        before = _null(null, beliefs, codes)[rows, codes]
    bits = float((observed - before).mean()) / NATS
    return Estimate(bits, len(beliefs), 0, beliefs.shape[1], float(-before.mean()) / NATS, ())


def _codes(y: np.ndarray, beliefs: np.ndarray) -> np.ndarray:
    codes_of(y)
    codes = same_length(beliefs, np.asarray(y))[1].astype(np.int64)
    if codes.min() < 0 or codes.max() >= beliefs.shape[1]:
        raise ValueError(
            f"y holds {codes.min()} to {codes.max()}; x has columns 0 to {beliefs.shape[1] - 1}"
        )
    return codes


def _null(null: np.ndarray | None, beliefs: np.ndarray, codes: np.ndarray) -> np.ndarray:
    n, labels = beliefs.shape
    if null is None:
        counts = frequencies(codes, labels) * (n + 0.5 * labels)
        others = counts[None, :] - np.eye(labels)[codes]
        return np.log(others / others.sum(axis=1, keepdims=True))
    given = np.asarray(null, np.float64)
    given = np.broadcast_to(given, beliefs.shape) if given.ndim == 1 else given
    return same_length(beliefs, _log_probabilities(given, "null"))[1]


def _log_probabilities(values: np.ndarray, name: str) -> np.ndarray:
    found = columns(values, name)
    if found.max() > 1e-6:
        raise ValueError(f"{name} holds {found.max():.3g}; natural log-probabilities are at most 0")
    return found
