"""The options of Nemotron-Labs-Diffusion's samplers; apart from them, for the command line need not
wait for torch."""

from __future__ import annotations

from dataclasses import dataclass

from ..options import AT_LEAST_ONE, ConfigError, Rule, option
from .block_diffusion_options import BlockDiffusionOptions

ABOVE_ZERO = Rule(lambda value: 0 < value <= 1, "it must be above 0 and at most 1")


@dataclass(frozen=True)
class NemotronOptions(BlockDiffusionOptions):
    """`strategy` has the three names under which vLLM serves them."""

    steps_per_block: int | None = option(
        None,
        "Steps of a block, the last of which commits all masks that are left.",
        rule=AT_LEAST_ONE,
        default_text="one for each token",
        from_checkpoint=True,
    )
    strategy: str = option(
        "confidence_threshold",
        "Which masks of the block commit: those from the threshold on, or an even share of the "
        "surest, or of the first.",
        choices=("confidence_threshold", "low_confidence", "leftmost"),
        default_text="confidence_threshold",
        from_checkpoint=True,
    )
    threshold: float = option(
        0.9,
        "Probability from which on a token commits, of the strategy with one.",
        rule=ABOVE_ZERO,
        default_text="0.9",
        from_checkpoint=True,
    )

    def check(self) -> None:
        """Raise ConfigError where a block would have steps that commit nothing."""
        if (self.steps_per_block or 0) > self.block_length:
            raise ConfigError(
                f"steps_per_block is {self.steps_per_block}, block_length {self.block_length}; a "
                f"step commits one token at least, so use {self.block_length} or fewer"
            )

    @property
    def most_steps_in_block(self) -> int:
        """The last of its steps commits all masks that are left."""
        return self.steps_of_block

    @property
    def steps_of_block(self) -> int:
        """`steps_per_block`, or one for each token."""
        return self.steps_per_block or self.block_length
