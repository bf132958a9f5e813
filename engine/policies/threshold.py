"""Confidence threshold: every position commits whose token is likely enough.

Wu et al. 2025, "Fast-dLLM" (arXiv 2505.22618), section 3.3, without its cache: p >= threshold, of
the proposed token before any temperature.
"""

from __future__ import annotations

from torch import Tensor

from ..decoding.canvas import Canvas
from ..models.family import TokenIds
from .parallel import ParallelPolicy, Sight
from .parallel_options import ThresholdOptions


class ThresholdPolicy(ParallelPolicy):
    """Commit all positions from `threshold` on, the most confident one in any case."""

    Options = ThresholdOptions

    def __init__(
        self, options: ThresholdOptions, token_ids: TokenIds, *, n_candidates: int
    ) -> None:
        super().__init__(options, token_ids, n_candidates=n_candidates)
        self.threshold = options.threshold

    def choose(self, canvas: Canvas, sight: Sight) -> Tensor:
        """The positions [B, G] that the rule accepts, and the first in any case."""
        confidence = sight.confidence
        return sight.or_surest(confidence >= self.threshold, score=confidence)
