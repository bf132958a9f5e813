"""Factor: the more positions commit at once, the surer each has to be.

Wu et al. 2025, "Fast-dLLM" (arXiv 2505.22618), section 3.3: by Theorem 1 of the paper the product
of n distributions has the joint one's mode if (n + 1) (1 - p_n) is small. Positions are taken in
the order of confidence as long as p_n >= 1 - factor / (n + 1), the first always, and the first
failure ends it. With `take_last` the last mask of a block commits with the others even where it
alone fails, so two are never taken one by one: a fault of the published code, that its scores have
been made with.
"""

from __future__ import annotations

import torch
from torch import Tensor

from ..decoding.canvas import Canvas
from ..models.family import TokenIds
from .parallel import ParallelPolicy, Sight
from .parallel_options import FactorOptions


class FactorPolicy(ParallelPolicy):
    """Commit the longest run of the most confident positions that the factor allows."""

    Options = FactorOptions

    def __init__(self, options: FactorOptions, token_ids: TokenIds, *, n_candidates: int) -> None:
        super().__init__(options, token_ids, n_candidates=n_candidates)
        self.factor = options.factor
        self.take_last = options.take_last

    def choose(self, canvas: Canvas, sight: Sight) -> Tensor:
        """The positions [B, G] that the rule accepts, and the first in any case."""
        confidence = sight.confidence
        ranked = sight.ranked(confidence)

        rank = torch.arange(1, confidence.shape[-1] + 1, device=confidence.device)
        least = 1 - self.factor / (rank + 1).double()
        allowed = ranked.sorted(confidence) >= least
        accepted = sight.eligible & (ranked.leading(allowed) | ranked.first)
        if not self.take_last:
            return accepted
        n_failed = (sight.eligible & ~accepted).sum(-1, keepdim=True)
        return accepted | (n_failed == 1)
