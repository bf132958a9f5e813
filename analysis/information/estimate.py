"""`estimate`: one value of mutual information, by any estimator of the table."""

from __future__ import annotations

from typing import Any

import numpy as np

from .estimators import load_estimator
from .sample import Estimate


def estimate(name: str, x: np.ndarray, y: np.ndarray, *, seed: int = 0, **options: Any) -> Estimate:
    """Mutual information of x and y in bits by the estimator `name`.

    x, y: [n] or [n, d], row by row pairs; integers, booleans and text are labels where the
    estimator takes them. `seed` fixes the jitter, folds and shuffles. `name` may be
    `package.module:NAME`.

    Raises ValueError for an unknown name or option (naming the known ones), a wrong shape, NaN or
    infinity, or fewer rows than the estimator can work with.
    """
    estimator = load_estimator(name)
    unknown = sorted(set(options) - set(estimator.option_names))
    if unknown:
        raise ValueError(
            f"estimator {name} has no option {', '.join(unknown)}; it has "
            f"{', '.join(estimator.option_names) or 'none'}"
        )
    return estimator.estimate(x, y, seed=seed, **options)
