"""KSG-1: mutual information of continuous variables from k-th neighbour distances.

Kraskov, Stoegbauer, Grassberger 2004 (arXiv:cond-mat/0305641), eq. 8: with eps_i the joint distance
to the k-th neighbour and n_x(i) the number of others with |x_j - x_i| < eps_i, strictly, I = psi(k)
+ psi(N) - <psi(n_x + 1) + psi(n_y + 1)>, maximum norm throughout. From joint dimension 5 or so on
the value falls short of the truth; it can never exceed psi(N) - psi(k).
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from .neighbors import count_within, distances_to, nearest
from .sample import (
    JITTER,
    NATS,
    Estimate,
    check_k,
    constant_columns,
    over_draws,
    paired,
    prepared,
    tied_share,
)


def ksg1(
    x: np.ndarray,
    y: np.ndarray,
    *,
    seed: int = 0,
    k: int = 3,
    scale: str = "std",
    jitter: float = JITTER,
    draws: int | None = None,
    backend: str = "auto",
) -> Estimate:
    """I(x; y) in bits for continuous x [n] or [n, d], y [n] or [n, e]; ties are broken by jitter
    and reported."""
    return continuous(ksg1_nats, x, y, seed, k, scale, jitter, draws, backend)


def ksg1_nats(x: np.ndarray, y: np.ndarray, k: int, backend: str = "auto") -> float:
    """Eq. 8 on prepared columns x [n, d], y [n, e], in nats."""
    from scipy.special import digamma

    joint = np.concatenate([x, y], axis=1)
    eps = distances_to(joint, nearest(joint, k, backend=backend))[:, -1]
    n_x, n_y = (count_within(part, eps, backend=backend) for part in (x, y))
    return float(digamma(k) + digamma(len(x)) - np.mean(digamma(n_x + 1) + digamma(n_y + 1)))


def continuous(
    nats: Callable[[np.ndarray, np.ndarray, int, str], float],
    x: np.ndarray,
    y: np.ndarray,
    seed: int,
    k: int,
    scale: str,
    jitter: float,
    draws: int | None,
    backend: str,
) -> Estimate:
    """Check and prepare x and y, average `nats(x, y, k, backend)` over draws of the jitter; what
    KSG-1 and 2 share."""
    from scipy.special import digamma

    wide_x, wide_y = paired(x, y)
    n = len(wide_x)
    dimension = wide_x.shape[1] + wide_y.shape[1]
    check_k(k, n)
    ceiling = float(digamma(n) - digamma(k)) / NATS
    if constant := [
        name for name, part in (("x", wide_x), ("y", wide_y)) if constant_columns(part).all()
    ]:
        return Estimate(
            0.0, n, k, dimension, ceiling, (f"{' and '.join(constant)} constant: 0 bits",)
        )

    def one_draw(rng: np.random.Generator) -> float:
        first, second = (
            prepared(part, rng, scale=scale, jitter=jitter) for part in (wide_x, wide_y)
        )
        return nats(first, second, k, backend)

    value, warnings = over_draws(one_draw, max(tied_share(wide_x), tied_share(wide_y)), seed, draws)
    return Estimate(value / NATS, n, k, dimension, ceiling, warnings)
