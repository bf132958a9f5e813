"""How large the margin of the tightest masked position is: what decides the order of commits."""

from __future__ import annotations

import numpy as np

from diffengine.analysis.metrics.block import Block
from diffengine.analysis.metrics.metric import Metric


def tightest(block: Block) -> np.ndarray:
    """[problem, step] smallest gap of the two largest logits over masked positions, in nats."""
    margin = np.asarray(block.variables["margin"], np.float64)
    masked = np.where(block.masked, margin, np.inf).min(axis=2)
    return block.at_performed(np.where(np.isfinite(masked), masked, np.nan))


TIGHTEST = Metric(
    tightest,
    units="nats",
    label="smallest margin of a masked position",
    variables=("margin",),
)
