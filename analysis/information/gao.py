"""Gao mixed: variables that are discrete in places and continuous in others.

Gao, Kannan, Oh, Viswanath 2017 (arXiv:1709.06212), as their published program counts rather than as
the paper's line reads. eps_i is the joint distance to the k-th neighbour; k_i = k, or where eps_i =
0 the number of points at distance 0, itself included; n_x and n_y count points strictly nearer than
eps_i (at 0 where eps_i = 0), itself included:

    I = <psi(k_i) + log N - psi(n_x) - psi(n_y)>

It works on atoms, so no jitter is added. On values that were merely rounded (bfloat16) it takes the
grid for atoms and comes out far too high: use ksg1 there.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from .estimator import CONTINUOUS, LABELS, Estimator
from .neighbors import distances_to, nearest
from .range_counts import count_within
from .sample import (
    NATS,
    TIED,
    Estimate,
    check_k,
    codes_of,
    columns,
    generator,
    is_labels,
    prepared,
    same_length,
    tied_share,
)

FAR = 1e6
"""Distance between neighbouring labels, in standard deviations of x: no ball of k points reaches
across."""


@dataclass(frozen=True)
class GaoOptions:
    """`k` neighbours, `scale` of the columns ("std", "rank", "none"), `backend` of neighbors.py."""

    k: int = 3
    scale: str = "std"
    backend: str = "auto"


def gao(x: np.ndarray, y: np.ndarray, options: GaoOptions, *, seed: int = 0) -> Estimate:
    """I(x; y) in bits for x [n] or [n, d], y likewise or labels, which then lie all at the same
    distance from another.

    Nothing in it is drawn; `seed` is there because every estimator has one.
    """
    from scipy.special import digamma

    def scaled(values: np.ndarray) -> np.ndarray:
        rng = generator(seed, "none")
        return prepared(values, rng, scale=options.scale, jitter=0.0)

    given = np.asarray(y)
    if is_labels(given) and given.ndim == 1:
        wide_x, codes = same_length(columns(x, "x"), codes_of(given))
        second = FAR * codes[:, None].astype(np.float64)
        dimension = wide_x.shape[1]
    else:
        wide_x, wide_y = same_length(columns(x, "x"), columns(y, "y"))
        second = scaled(wide_y)
        dimension = wide_x.shape[1] + wide_y.shape[1]
    n = len(wide_x)
    check_k(options.k, n)
    nats = gao_nats(scaled(wide_x), second, options.k, options.backend)
    ceiling = float(np.log(n) - digamma(options.k))
    warnings = _warnings(tied_share(wide_x))
    return Estimate(nats / NATS, n, options.k, dimension, ceiling / NATS, warnings)


def gao_nats(x: np.ndarray, y: np.ndarray, k: int, backend: str = "auto") -> float:
    """The formula above on columns x [n, d], y [n, e], in nats."""
    from scipy.special import digamma

    joint = np.concatenate([x, y], axis=1)
    neighbours = nearest(joint, k, backend=backend)
    eps = distances_to(joint, neighbours)[:, -1]
    n_x = _count(x, eps, backend)
    n_y = _count(y, eps, backend)
    k_of = np.where(eps == 0, _count(joint, eps, backend), k)
    terms = digamma(k_of) - digamma(n_x) - digamma(n_y)
    return float(np.log(len(x)) + np.mean(terms))


def _count(points: np.ndarray, eps: np.ndarray, backend: str) -> np.ndarray:
    """[n] points strictly nearer than `eps` [n], or at distance 0 where eps is 0; itself
    included."""
    nearer = count_within(points, eps, backend=backend)
    is_atom = eps == 0
    if is_atom.any():
        zero = np.zeros(len(points))
        same = count_within(points, zero, closed=True, backend=backend)
        nearer = np.where(is_atom, same, nearer)
    return 1 + nearer


def _warnings(tied: float) -> tuple[str, ...]:
    if not TIED < tied < 1.0:
        return ()
    share = f"{100 * tied:.0f} % of x is tied and taken for atoms"
    return (f"{share}; if it was rounded, use ksg1 or ross",)


GAO = Estimator(
    gao,
    method="k-NN, mixtures of atoms and densities",
    source="Gao et al. 2017, the authors' code",
    caution="many labels that occur once; values that were merely rounded",
    targets=(LABELS, CONTINUOUS),
    options=GaoOptions,
)
