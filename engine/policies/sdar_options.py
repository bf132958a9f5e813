"""The options of SDAR's sampler; apart from it, for the command line need not wait for torch."""

from __future__ import annotations

from dataclasses import dataclass

from ..options import AT_LEAST_ONE, NOT_NEGATIVE, SHARE, ConfigError, option
from .block_diffusion_options import ShapedBlockOptions


@dataclass(frozen=True)
class SDAROptions(ShapedBlockOptions):
    """The names are those of the published generate.py; `entropy_bound` is in nats."""

    block_length: int = option(
        4,
        "Block length.",
        rule=AT_LEAST_ONE,
        default_text="the checkpoint's own",
        from_checkpoint=True,
    )
    denoising_steps: int | None = option(
        None,
        "Steps of a block that is generated whole.",
        rule=AT_LEAST_ONE,
        default_text="one for each token",
        from_checkpoint=True,
    )
    remasking_strategy: str = option(
        "low_confidence_dynamic",
        "Which masks of the block commit: those above the threshold, or a fixed number of the "
        "surest, of the first, or of those whose entropies add up to the bound.",
        choices=(
            "low_confidence_dynamic",
            "low_confidence_static",
            "sequential",
            "entropy_bounded",
        ),
        default_text="low_confidence_dynamic",
        from_checkpoint=True,
    )
    confidence_threshold: float = option(
        0.85,
        "Probability above which a token commits, of the dynamic strategy.",
        rule=SHARE,
        default_text="0.85",
        from_checkpoint=True,
    )
    entropy_bound: float = option(
        0.1,
        "Entropy that the tokens of a step may have together beside the largest, of the strategy "
        "of this name.",
        rule=NOT_NEGATIVE,
        default_text="0.1",
        from_checkpoint=True,
    )

    def check(self) -> None:
        """Raise ConfigError where a block would have steps that commit nothing."""
        if self.steps_of_block > self.block_length:
            raise ConfigError(
                f"denoising_steps is {self.denoising_steps}, block_length {self.block_length}; a "
                f"step commits one token at least, so use {self.block_length} or fewer"
            )

    @property
    def most_steps_in_block(self) -> int:
        """As many as its schedule has, for a step commits no fewer than that says; of the entropy
        bound, which may accept one token a step, one for each token."""
        if self.remasking_strategy == "entropy_bounded":
            return self.block_length
        return self.steps_of_block

    @property
    def steps_of_block(self) -> int:
        """`denoising_steps`, or one for each token."""
        return self.denoising_steps or self.block_length
