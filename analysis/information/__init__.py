"""Mutual information in bits by several estimators, each with what it cannot do; and how sure its
value is.

from diffengine.analysis.information import estimate
estimate("ross", features, correct).bits
"""

from __future__ import annotations

from .estimate import estimate
from .sample import Estimate

__all__ = ["Estimate", "estimate"]
