"""Margin: every position commits whose most probable token stands far enough above the next one.

Kim et al. 2025, "Train for the Worst, Plan for the Best" (arXiv 2502.06768), section 4.1, and
Dream's `topk_margin` take positions in the order of p_1 - p_2; here all from `min_margin` on commit
together. The two are the largest probabilities of the distribution that the token is drawn from, as
in Dream: over the tokens that may be proposed, after the temperature.
"""

from __future__ import annotations

from dataclasses import replace

from torch import Tensor

from ...kernels.shaping import Shaping
from ..decoding.canvas import Canvas
from ..models.family import TokenIds
from .parallel import ParallelPolicy, Sight
from .parallel_options import MarginOptions


class MarginPolicy(ParallelPolicy):
    """Commit all positions from `min_margin` on, that of the largest margin in any case."""

    Options = MarginOptions

    def __init__(self, options: MarginOptions, token_ids: TokenIds, *, n_candidates: int) -> None:
        super().__init__(options, token_ids, n_candidates=n_candidates)
        self.min_margin = options.min_margin
        self.sampling = replace(self.sampling, shaping=Shaping(score="margin"))

    def choose(self, canvas: Canvas, sight: Sight) -> Tensor:
        """The positions [B, G] that the rule accepts, and the first in any case."""
        margin = sight.confidence
        return sight.or_surest(margin >= self.min_margin, score=margin)
