"""One door to all estimators: by name from the table in `registry.py`, with its options checked.

Knows no formula; each estimator is a file beside this one.
"""

from __future__ import annotations

import inspect
from typing import Any

import numpy as np

from ..errors import load_named
from ..registry import ESTIMATORS
from .sample import Estimate


def estimate(name: str, x: np.ndarray, y: np.ndarray, *, seed: int = 0, **options: Any) -> Estimate:
    """Mutual information of x and y in bits by the estimator `name`.

    x, y: [n] or [n, d], row by row pairs; integers, booleans and text are labels where the
    estimator takes them. `seed` fixes the jitter, folds and shuffles. Raises ValueError for an
    unknown name or option (naming the known ones), a wrong shape, NaN or infinity, or fewer rows
    than the estimator can work with.
    """
    function = load_named(ESTIMATORS, name)
    known = [one for one in inspect.signature(function).parameters if one not in ("x", "y", "seed")]
    if unknown := sorted(set(options) - set(known)):
        raise ValueError(
            f"estimator {name} has no option {', '.join(unknown)}; it has {', '.join(known)}"
        )
    return function(x, y, seed=seed, **options)
