"""What the nearest-neighbour estimators share: their options, the constant variable, the mean over
draws of the jitter.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

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


@dataclass(frozen=True)
class Knn:
    """`k` neighbours; `scale` of the columns: "std", "rank" or "none"; `jitter` in standard
    deviations; `draws` of it (None: 5 where values are tied, else 1); `backend` of neighbors.py."""

    k: int = 3
    scale: str = "std"
    jitter: float = JITTER
    draws: int | None = None
    backend: str = "auto"


def over_jitter(
    nats: Callable[..., float],
    variables: Sequence[np.ndarray],
    options: Knn,
    seed: int,
) -> tuple[float, tuple[str, ...]]:
    """Mean over draws of the jitter of `nats(*prepared variables)`, and the warning if there were
    ties."""

    def nats_of_draw(rng: np.random.Generator) -> float:
        drawn = []
        for values in variables:
            drawn.append(prepared(values, rng, scale=options.scale, jitter=options.jitter))
        return nats(*drawn)

    tied = max(tied_share(values) for values in variables)
    return over_draws(nats_of_draw, tied, seed, options.draws)


def continuous(
    nats: Callable[[np.ndarray, np.ndarray, int, str], float],
    x: np.ndarray,
    y: np.ndarray,
    options: Knn,
    seed: int,
) -> Estimate:
    """I(x; y) of continuous x and y by `nats(x, y, k, backend)` on prepared columns.

    It can never exceed psi(n) - psi(k). Raises ValueError as `paired` and `check_k`.
    """
    from scipy.special import digamma

    wide_x, wide_y = paired(x, y)
    n = len(wide_x)
    k = options.k
    check_k(k, n)
    dimension = wide_x.shape[1] + wide_y.shape[1]
    ceiling = float(digamma(n) - digamma(k)) / NATS

    constant = []
    for name, values in (("x", wide_x), ("y", wide_y)):
        if constant_columns(values).all():
            constant.append(name)
    if constant:
        warning = f"{' and '.join(constant)} constant: 0 bits"
        return Estimate(0.0, n, k, dimension, ceiling, (warning,))

    def nats_of(first: np.ndarray, second: np.ndarray) -> float:
        return nats(first, second, k, options.backend)

    value, warnings = over_jitter(nats_of, (wide_x, wide_y), options, seed)
    return Estimate(value / NATS, n, k, dimension, ceiling, warnings)
