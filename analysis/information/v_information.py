"""Pointwise V-information from the model's own beliefs: by how much the state makes it surer of
what came out.

PVI_i = log q(y_i | x_i) - log q(y_i | null), averaged (Ethayarajh et al. 2022, arXiv:2110.08420,
eq. 4). q is the model itself, so nothing is fitted. The null input is the prompt without the
question; where no null beliefs are given, the label frequencies of the other rows stand in for
them. A model that is confident and wrong has negative information.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from .decoding import frequencies
from .estimator import LABELS, Estimator
from .sample import NATS, Estimate, codes_of, columns, same_length

ROUNDING = 1e-6
"""By how much a log-probability may exceed 0."""


@dataclass(frozen=True)
class PviOptions:
    """`null`: natural log-probabilities under the null input, [labels] or as x."""

    null: np.ndarray | None = None


def pvi(x: np.ndarray, y: np.ndarray, options: PviOptions, *, seed: int = 0) -> Estimate:
    """Mean PVI in bits.

    x: natural log-probabilities, [n, labels] with y [n] whole numbers that choose the column; or
    [n], those of the observed answers, and then `null` [n] is needed. The ceiling is the
    cross-entropy of the null beliefs. Nothing is drawn; `seed` is there as in every estimator.
    """
    beliefs = _log_probabilities(x, "x")
    if beliefs.shape[1] == 1:
        observed, before = _of_observed(beliefs, y, options.null)
    else:
        rows = np.arange(len(beliefs))
        codes = _codes(y, beliefs)
        observed = beliefs[rows, codes]
        before = _null(options.null, beliefs, codes)[rows, codes]
    bits = float((observed - before).mean()) / NATS
    ceiling = float(-before.mean()) / NATS
    return Estimate(bits, len(beliefs), 0, beliefs.shape[1], ceiling, ())


def _of_observed(
    beliefs: np.ndarray, y: np.ndarray, null: np.ndarray | None
) -> tuple[np.ndarray, np.ndarray]:
    """[n] log-probabilities of the observed answers, with and without the question."""
    if null is None:
        raise ValueError(
            "x of shape [n] needs null: the log-probabilities of the same answers without the "
            "question"
        )
    same_length(beliefs, np.asarray(y))
    observed, before = same_length(beliefs, _log_probabilities(null, "null"))
    return observed[:, 0], before[:, 0]


def _codes(y: np.ndarray, beliefs: np.ndarray) -> np.ndarray:
    codes_of(y)
    _, codes = same_length(beliefs, np.asarray(y))
    codes = codes.astype(np.int64)
    labels = beliefs.shape[1]
    if codes.min() < 0 or codes.max() >= labels:
        raise ValueError(f"y holds {codes.min()} to {codes.max()}; x has columns 0 to {labels - 1}")
    return codes


def _null(null: np.ndarray | None, beliefs: np.ndarray, codes: np.ndarray) -> np.ndarray:
    """[n, labels] log-probabilities without the question, given or from the other rows' labels."""
    n, labels = beliefs.shape
    if null is None:
        counts = frequencies(codes, labels) * (n + 0.5 * labels)
        others = counts[None, :] - np.eye(labels)[codes]
        shares = others / others.sum(axis=1, keepdims=True)
        logarithm: np.ndarray = np.log(shares)
        return logarithm
    given = np.asarray(null, np.float64)
    if given.ndim == 1:
        given = np.broadcast_to(given, beliefs.shape)
    return same_length(beliefs, _log_probabilities(given, "null"))[1]


def _log_probabilities(values: np.ndarray, name: str) -> np.ndarray:
    wide = columns(values, name)
    if wide.max() > ROUNDING:
        raise ValueError(f"{name} holds {wide.max():.3g}; natural log-probabilities are at most 0")
    return wide


PVI = Estimator(
    pvi,
    method="log q(y given x) - log q(y given null), q given",
    source="Ethayarajh et al. 2022",
    caution="it is about q, not about x",
    targets=(LABELS,),
    options=PviOptions,
)
