"""Entropy bound: as many positions commit at once as cannot depend on each other much.

Ben-Hamu et al. 2025, "Accelerated Sampling from Masked Diffusion Models via Entropy Bounded
Unmasking" (arXiv 2505.24857): sum H - max H bounds the mutual information of the chosen tokens, and
stays within the bound. Two orders are published, which give different sets: by entropy
(transformers' and diffusers' samplers) and by the confidence in the token (RND1's).
"""

from __future__ import annotations

from torch import Tensor

from ..decoding.canvas import Canvas
from ..models.family import TokenIds
from .parallel import ParallelPolicy, Sight
from .parallel_options import EntropyBoundOptions


class EntropyBoundPolicy(ParallelPolicy):
    """Commit the longest run in the chosen order whose entropies keep the bound, the first in any
    case."""

    Options = EntropyBoundOptions

    def __init__(
        self, options: EntropyBoundOptions, token_ids: TokenIds, *, n_candidates: int
    ) -> None:
        super().__init__(options, token_ids, n_candidates=n_candidates)
        self.bound = options.bound
        self.by_entropy = options.order == "entropy"

    def choose(self, canvas: Canvas, sight: Sight) -> Tensor:
        """The positions [B, G] that the rule accepts, and the first in any case."""
        entropy = sight.entropy
        ranked = sight.ranked(-entropy if self.by_entropy else sight.confidence)

        in_order = ranked.sorted(entropy)
        total = in_order.cumsum(-1)
        largest = in_order.cummax(-1).values
        return ranked.leading(total - largest <= self.bound) | ranked.first
