"""Gao mixed: variables that are discrete in places and continuous in others.

Gao, Kannan, Oh, Viswanath 2017 (arXiv:1709.06212), as their published program counts rather than as
the paper's line reads: eps_i is the joint distance to the k-th neighbour, k_i = k, or where eps_i =
0 the number of points at distance 0, itself included; n_x and n_y count points strictly nearer than
eps_i (at 0 where eps_i = 0), itself included; I = <psi(k_i) + log N - psi(n_x) - psi(n_y)>. Works
on atoms, so no jitter is added. On values that were merely rounded (bfloat16) it takes the grid for
atoms and comes out far too high: use ksg1 there.
"""

from __future__ import annotations

import numpy as np

from .neighbors import count_within, distances_to, nearest
from .sample import (
    NATS,
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


def gao(
    x: np.ndarray,
    y: np.ndarray,
    *,
    seed: int = 0,
    k: int = 3,
    scale: str = "std",
    backend: str = "auto",
) -> Estimate:
    """I(x; y) in bits for x [n] or [n, d], y likewise or labels, which then lie all at the same
    distance from another.

    Nothing in it is drawn; `seed` is there because every estimator has one.
    """
    from scipy.special import digamma

    given = np.asarray(y)
    if is_labels(given) and given.ndim == 1:
        wide_x, codes = same_length(columns(x, "x"), codes_of(given))
        second = FAR * codes[:, None].astype(np.float64)
        width = 0
    else:
        wide_x, wide_y = same_length(columns(x, "x"), columns(y, "y"))
        second = prepared(wide_y, generator(seed, "none"), scale=scale, jitter=0.0)
        width = wide_y.shape[1]
    n = len(wide_x)
    check_k(k, n)
    first = prepared(wide_x, generator(seed, "none"), scale=scale, jitter=0.0)
    tied = tied_share(wide_x)
    warning = (
        f"{100 * tied:.0f} % of x is tied and taken for atoms; if it was rounded, use ksg1 or ross"
    )
    return Estimate(
        gao_nats(first, second, k, backend) / NATS,
        n,
        k,
        wide_x.shape[1] + width,
        float(np.log(n) - digamma(k)) / NATS,
        (warning,) if 0.01 < tied < 1.0 else (),
    )


FAR = 1e6
"""Distance between neighbouring labels, in standard deviations of x: no ball of k points reaches
across."""


def gao_nats(x: np.ndarray, y: np.ndarray, k: int, backend: str = "auto") -> float:
    """The formula above on columns x [n, d], y [n, e], in nats."""
    from scipy.special import digamma

    joint = np.concatenate([x, y], axis=1)
    eps = distances_to(joint, nearest(joint, k, backend=backend))[:, -1]
    atom = eps == 0
    zero = np.zeros(len(x))
    counts = []
    for part in (x, y, joint):
        open_ball = count_within(part, eps, backend=backend)
        at_zero = (
            count_within(part, zero, closed=True, backend=backend) if atom.any() else open_ball
        )
        counts.append(1 + np.where(atom, at_zero, open_ball))
    k_of = np.where(atom, counts[2], k)
    return float(np.log(len(x)) + np.mean(digamma(k_of) - digamma(counts[0]) - digamma(counts[1])))
