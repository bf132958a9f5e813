"""Entropies of Gaussians from samples, with the bias of a sample covariance taken off.

Ince et al. 2017 (Human Brain Mapping 38:1541): H = 1/2 log((2 pi e)^d |S|), less what the log
determinant of a sample covariance falls short of the true one (their eq. of Goodman 1963 / Misra
2005: psi terms). The constant d/2 log(2 pi e) is left out, since it cancels in every difference.
"""

from __future__ import annotations

import numpy as np

LINEAR = 1e-4
"""Share of a column's standard deviation that must be its own."""


def independent(scores: np.ndarray) -> np.ndarray:
    """The columns of normal scores [n, d] that are not linear in earlier ones; the others add no
    information.

    A column that is a monotone function of another has its scores, and with both the covariance has
    no inverse.
    """
    centred = scores - scores.mean(axis=0)
    factor = np.asarray(np.linalg.qr(centred, mode="r"))
    length = np.sqrt((factor**2).sum(axis=0))
    own = np.abs(np.diag(factor)) / length
    return scores[:, own > LINEAR]


def gaussian_entropy(values: np.ndarray) -> float:
    """Entropy in nats of a Gaussian with the covariance of `values` [n, d], bias removed; without
    d/2 log(2 pi e)."""
    n, d = values.shape
    centred = values - values.mean(axis=0)
    covariance = centred.T @ centred / (n - 1)
    log_det = np.linalg.slogdet(covariance)[1]
    bias = covariance_bias(np.asarray(n), d)
    return float(log_det / 2 - bias)


def covariance_bias(n: np.ndarray, d: int) -> np.ndarray:
    """Expected 1/2 log|S| - 1/2 log|Sigma| for a sample covariance S of n points in d columns, in
    nats."""
    from scipy.special import digamma

    n = np.asarray(n, np.float64)
    degrees = n[..., None] - np.arange(1, d + 1)
    terms = digamma(degrees / 2).sum(axis=-1)
    bias: np.ndarray = (terms + d * (np.log(2) - np.log(n - 1))) / 2
    return bias


def joint_nats(x: np.ndarray, y: np.ndarray) -> float:
    """H(X) + H(Y) - H(X, Y) of normal scores x [n, d], y [n, e], in nats."""
    joint = np.concatenate([x, y], axis=1)
    return gaussian_entropy(x) + gaussian_entropy(y) - gaussian_entropy(joint)


def labelled_nats(scores: np.ndarray, codes: np.ndarray) -> float:
    """H(X) - sum over labels of their share times H(X | label), `scores` [n, d] normal scores, in
    nats."""
    members = np.bincount(codes)
    within = []
    for code in range(len(members)):
        of_label = scores[codes == code]
        within.append(gaussian_entropy(of_label))
    share = members / len(codes)
    return gaussian_entropy(scores) - float(share @ np.array(within))


def labelled_many(scores: np.ndarray, codes: np.ndarray) -> np.ndarray:
    """[B] the same for one set of `scores` [n, d] and B relabellings `codes` [B, n]."""
    n, d = scores.shape
    rows, columns = np.triu_indices(d)
    products = np.ascontiguousarray(scores[:, rows] * scores[:, columns])
    value = np.full(len(codes), gaussian_entropy(scores))
    for code in range(int(codes.max()) + 1):
        chosen = (codes == code).astype(np.float64)
        members = chosen.sum(axis=1)
        mean = chosen @ scores / members[:, None]

        sums = chosen @ products
        second = np.zeros((len(codes), d, d))
        second[:, columns, rows] = sums
        second[:, rows, columns] = sums
        of_mean = members[:, None, None] * mean[:, :, None] * mean[:, None, :]
        spread = second - of_mean

        degrees = members - 1
        covariance = spread / degrees[:, None, None]
        log_det = np.linalg.slogdet(covariance)[1]
        entropy = log_det / 2 - covariance_bias(members, d)
        share = members / n
        value -= share * entropy
    return value
