"""Mutual information of two Gaussians from their correlation: -log2(1 - R^2) / 2 bits."""

from __future__ import annotations

import numpy as np

from diffengine.analysis.information.curve import Curve
from diffengine.analysis.information.estimator import Estimator
from diffengine.analysis.information.sample import Estimate


def linear(x: np.ndarray, y: np.ndarray, *, seed: int = 0) -> Estimate:
    """From the multiple correlation of y with the columns of x. Raises ValueError for constant y."""
    y = np.asarray(y, np.float64)
    if not y.std():
        raise ValueError("y is constant; expected two values at least")
    columns = np.reshape(np.asarray(x, np.float64), (len(y), -1))
    columns = np.column_stack([np.ones(len(y)), columns])
    residual = y - columns @ np.linalg.lstsq(columns, y, rcond=None)[0]
    bits = -0.5 * np.log2(residual.var() / y.var())
    return Estimate(float(bits), len(y), 0, columns.shape[1] - 1, np.inf)


LINEAR = Estimator(
    linear,
    method="log of the share of variance that a linear regression leaves",
    source="Cover and Thomas 2006, example 8.5.1",
    caution="exact for joint Gaussians alone",
    targets=("labels", "continuous"),
    curves=(Curve("linear", "I(correct; belief at the answer slot), linear", features="belief"),),
)
