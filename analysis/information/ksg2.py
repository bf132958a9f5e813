"""KSG-2: as KSG-1, with one radius for each of the two variables.

Kraskov, Stoegbauer, Grassberger 2004, eq. 9. With eps_x(i) and eps_y(i) the largest |x_j - x_i| and
|y_j - y_i| among the k joint neighbours, and n_x(i) the number of others with
|x_j - x_i| <= eps_x(i),

    I = psi(k) - 1/k + psi(N) - <psi(n_x) + psi(n_y)>.

With one common radius the same formula is about .36 nats too low.
"""

from __future__ import annotations

import numpy as np

from .estimator import CONTINUOUS, Estimator
from .knn import Knn, continuous
from .neighbors import distances_to, nearest
from .range_counts import count_within
from .sample import Estimate


def ksg2(x: np.ndarray, y: np.ndarray, options: Knn, *, seed: int = 0) -> Estimate:
    """I(x; y) in bits for continuous x [n] or [n, d], y [n] or [n, e]; ties are broken by jitter
    and reported."""
    return continuous(ksg2_nats, x, y, options, seed)


def ksg2_nats(x: np.ndarray, y: np.ndarray, k: int, backend: str = "auto") -> float:
    """Eq. 9 on prepared columns x [n, d], y [n, e], in nats."""
    from scipy.special import digamma

    joint = np.concatenate([x, y], axis=1)
    neighbours = nearest(joint, k, backend=backend)
    eps_x = distances_to(x, neighbours).max(axis=1)
    eps_y = distances_to(y, neighbours).max(axis=1)
    n_x = count_within(x, eps_x, closed=True, backend=backend)
    n_y = count_within(y, eps_y, closed=True, backend=backend)
    spread = np.mean(digamma(n_x) + digamma(n_y))
    return float(digamma(k) - 1 / k + digamma(len(x)) - spread)


KSG2 = Estimator(
    ksg2,
    method="k-NN, both continuous, two radii",
    source="Kraskov et al. 2004, eq. 9",
    caution="as `ksg1`",
    targets=(CONTINUOUS,),
    options=Knn,
)
