"""Gaussian-copula mutual information: ranks made normal, then the formula for Gaussians. Cheap,
never alone.

Ince et al. 2017 (Human Brain Mapping 38:1541), from Gaussian entropies H = 1/2 log((2 pi e)^d |S|)
with the bias of a sample covariance taken off (their eq. of Goodman 1963 / Misra 2005: psi terms).
For labels I = H(X) - <H(X | y)>. It sees only what a Gaussian dependence between monotone
transforms would show: .03 nats of .41 for a swiss roll.
"""

from __future__ import annotations

import numpy as np

from .sample import (
    JITTER,
    NATS,
    Estimate,
    constant_columns,
    is_labels,
    label_entropy,
    labelled,
    over_draws,
    paired,
    prepared,
    tied_share,
)


def gcmi(
    x: np.ndarray, y: np.ndarray, *, seed: int = 0, jitter: float = JITTER, draws: int | None = None
) -> Estimate:
    """I(x; y) in bits for x [n] or [n, d] and y labels or continuous; exact for Gaussian copulas
    only.

    Raises ValueError where a covariance cannot be had: n, or the rows of a label, not above the
    number of columns.
    """
    if is_labels(y) and np.ndim(y) == 1:
        sample = labelled(x, y)
        wide_x = sample.x
        codes = sample.codes
        warnings = sample.warnings
        ceiling = label_entropy(codes)
        dimension = wide_x.shape[1]
        tied = tied_share(wide_x)
        few = int(np.bincount(codes).min())
        parts = [wide_x]
    else:
        wide_x, wide_y = paired(x, y)
        ceiling = float("inf")
        dimension = wide_x.shape[1] + wide_y.shape[1]
        warnings = ()
        tied = max(tied_share(wide_x), tied_share(wide_y))
        few = len(wide_x)
        parts = [wide_x, wide_y]
    n = len(wide_x)
    if any(constant_columns(part).all() for part in parts):
        return Estimate(0.0, n, 0, dimension, ceiling / NATS, (*warnings, "constant: 0 bits"))
    if few <= dimension + 1:
        raise ValueError(
            f"{few} rows (of the rarest label) cannot give a covariance of {dimension} columns; "
            "use ross"
        )

    def one_draw(rng: np.random.Generator) -> float:
        scores = [independent(prepared(part, rng, scale="rank", jitter=jitter)) for part in parts]
        if len(scores) == 2:
            joint = np.concatenate(scores, axis=1)
            return (
                gaussian_entropy(scores[0]) + gaussian_entropy(scores[1]) - gaussian_entropy(joint)
            )
        return labelled_nats(scores[0], codes)

    value, tie_warnings = over_draws(one_draw, tied, seed, draws)
    return Estimate(value / NATS, n, 0, dimension, ceiling / NATS, (*warnings, *tie_warnings))


def independent(scores: np.ndarray) -> np.ndarray:
    """The columns of normal scores [n, d] that are not linear in earlier ones; the others add no
    information.

    A column that is a monotone function of another has its scores, and with both the covariance has
    no inverse.
    """
    factor = np.asarray(np.linalg.qr(scores - scores.mean(axis=0), mode="r"))
    own = np.abs(np.diag(factor)) / np.sqrt((factor**2).sum(axis=0))
    return scores[:, own > LINEAR]


LINEAR = 1e-4
"""Share of a column's standard deviation that must be its own."""


def gaussian_entropy(values: np.ndarray) -> float:
    """Entropy in nats of a Gaussian with the covariance of `values` [n, d], bias removed; without
    d/2 log(2 pi e)."""
    n, d = values.shape
    centred = values - values.mean(axis=0)
    log_det = np.linalg.slogdet(centred.T @ centred / (n - 1))[1]
    return float(log_det / 2 - covariance_bias(np.asarray(n), d))


def covariance_bias(n: np.ndarray, d: int) -> np.ndarray:
    """Expected 1/2 log|S| - 1/2 log|Sigma| for a sample covariance S of n points in d columns, in
    nats."""
    from scipy.special import digamma

    n = np.asarray(n, np.float64)
    terms = digamma((n[..., None] - np.arange(1, d + 1)) / 2).sum(axis=-1)
    return (terms + d * (np.log(2) - np.log(n - 1))) / 2


def labelled_nats(scores: np.ndarray, codes: np.ndarray) -> float:
    """H(X) - sum over labels of their share times H(X | label), `scores` [n, d] normal scores, in
    nats."""
    members = np.bincount(codes)
    within = [gaussian_entropy(scores[codes == code]) for code in range(len(members))]
    return gaussian_entropy(scores) - float((members / len(codes)) @ np.array(within))


def labelled_many(scores: np.ndarray, codes: np.ndarray) -> np.ndarray:
    """[B] the same for one set of `scores` [n, d] and B relabellings `codes` [B, n]."""
    n, d = scores.shape
    upper = np.triu_indices(d)
    products = np.stack([scores[:, a] * scores[:, b] for a, b in zip(*upper, strict=True)], axis=1)
    value = np.full(len(codes), gaussian_entropy(scores))
    for code in range(int(codes.max()) + 1):
        chosen = (codes == code).astype(np.float64)
        members = chosen.sum(axis=1)
        mean = chosen @ scores / members[:, None]
        second = np.zeros((len(codes), d, d))
        second[:, upper[0], upper[1]] = second[:, upper[1], upper[0]] = chosen @ products
        spread = second - members[:, None, None] * mean[:, :, None] * mean[:, None, :]
        log_det = np.linalg.slogdet(spread / (members - 1)[:, None, None])[1]
        value -= members / n * (log_det / 2 - covariance_bias(members, d))
    return value
