"""The options of A2D's block sampler; apart from it, for the command line need not wait for
torch."""

from __future__ import annotations

from dataclasses import dataclass

from ..options import AT_LEAST_ONE, option
from .block_diffusion_options import BlockDiffusionOptions


@dataclass(frozen=True)
class BD3LMOptions(BlockDiffusionOptions):
    """The names are those of the published sampler's config, but for `block_size`, which is
    `block_length` here."""

    steps_per_block: int | None = option(
        None,
        "Steps among which a block's commits are split; those that would commit nothing are left "
        "out.",
        rule=AT_LEAST_ONE,
        default_text="one for each token",
        from_checkpoint=True,
    )
    remasking: str = option(
        "low_confidence",
        "Commit rule.",
        choices=("low_confidence", "random"),
        default_text="low_confidence",
    )

    @property
    def most_steps_in_block(self) -> int:
        """As many as its schedule has at most: no step commits nothing."""
        return min(self.steps_of_block, self.block_length)

    @property
    def steps_of_block(self) -> int:
        """`steps_per_block`, or one for each token."""
        return self.steps_per_block or self.block_length
