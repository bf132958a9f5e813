"""Entropy threshold: every position commits whose distribution is sharp enough.

Qian et al. 2026, d3LLM (arXiv 2601.07568), its entropy rule in blocks one after the other, without
its several open blocks and its cache: H <= max_entropy in nats, of the model's own distribution.
"""

from __future__ import annotations

from torch import Tensor

from ..decoding.canvas import Canvas
from ..models.family import TokenIds
from .parallel import ParallelPolicy, Sight
from .parallel_options import EntropyThresholdOptions


class EntropyThresholdPolicy(ParallelPolicy):
    """Commit all positions up to `max_entropy`, that of least entropy in any case."""

    Options = EntropyThresholdOptions

    def __init__(
        self, options: EntropyThresholdOptions, token_ids: TokenIds, *, n_candidates: int
    ) -> None:
        super().__init__(options, token_ids, n_candidates=n_candidates)
        self.max_entropy = options.max_entropy

    def choose(self, canvas: Canvas, sight: Sight) -> Tensor:
        """The positions [B, G] that the rule accepts, and the first in any case."""
        entropy = sight.entropy
        return sight.or_surest(entropy <= self.max_entropy, score=-entropy)
