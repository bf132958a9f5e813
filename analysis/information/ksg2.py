"""KSG-2: as KSG-1, with one radius for each of the two variables.

Kraskov, Stoegbauer, Grassberger 2004, eq. 9: eps_x(i) and eps_y(i) are the largest |x_j - x_i| and
|y_j - y_i| among the k joint neighbours, n_x(i) the number of others with |x_j - x_i| <= eps_x(i),
and I = psi(k) - 1/k + psi(N) - <psi(n_x) + psi(n_y)>. With one common radius the same formula is
about .36 nats too low.
"""

from __future__ import annotations

import numpy as np

from .ksg1 import continuous
from .neighbors import count_within, distances_to, nearest
from .sample import JITTER, Estimate


def ksg2(
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
    return continuous(ksg2_nats, x, y, seed, k, scale, jitter, draws, backend)


def ksg2_nats(x: np.ndarray, y: np.ndarray, k: int, backend: str = "auto") -> float:
    """Eq. 9 on prepared columns x [n, d], y [n, e], in nats."""
    from scipy.special import digamma

    ids = nearest(np.concatenate([x, y], axis=1), k, backend=backend)
    counts = [
        count_within(part, distances_to(part, ids).max(axis=1), closed=True, backend=backend)
        for part in (x, y)
    ]
    return float(
        digamma(k) - 1 / k + digamma(len(x)) - np.mean(digamma(counts[0]) + digamma(counts[1]))
    )
