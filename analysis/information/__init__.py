"""Mutual information in bits by several estimators, each with what it cannot do; and how sure its
value is.

from diffengine.analysis.information import estimate
estimate("ross", features, correct).bits
"""

from __future__ import annotations

from .curve import Curve, Point
from .estimate import estimate
from .estimator import Estimator
from .sample import Estimate

__all__ = ["Curve", "Estimate", "Estimator", "Point", "estimate"]
