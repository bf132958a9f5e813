"""The options of LLaDA2's sampler; apart from it, for the command line need not wait for torch."""

from __future__ import annotations

from dataclasses import dataclass

from ..options import AT_LEAST_ONE, NOT_NEGATIVE, SHARE, ConfigError, option
from .block_diffusion_options import ShapedBlockOptions


@dataclass(frozen=True)
class LLaDA2Options(ShapedBlockOptions):
    """The names are those of the published `generate`, but for its `steps`, which are those of a
    block, and here `steps_per_block`. The defaults are LLaDA2.0's: nothing is edited.

    What may be none does not come from a checkpoint, for none could not be said against it.
    """

    eos_early_stop: bool = option(
        False,
        "End a problem with the block that holds the end of the sequence or of the turn.",
        from_checkpoint=True,
    )
    steps_per_block: int | None = option(
        None,
        "Steps among which a block's commits are split evenly; more commit where more are sure.",
        rule=AT_LEAST_ONE,
        default_text="one for each token",
    )
    minimal_topk: int = option(
        1,
        "A block has at most gen_length / minimal_topk steps.",
        rule=AT_LEAST_ONE,
        default_text="1",
        from_checkpoint=True,
    )
    num_to_transfer: int | None = option(
        None,
        "Masks that commit in every step at least, in place of an even split.",
        rule=AT_LEAST_ONE,
        default_text="an even split",
    )
    threshold: float = option(
        0.95,
        "Probability above which a token commits.",
        rule=SHARE,
        default_text="0.95",
        from_checkpoint=True,
    )
    editing_threshold: float | None = option(
        None,
        "Probability above which another token replaces a committed one; none: commits are final.",
        rule=SHARE,
        default_text="none",
    )
    max_post_steps: int = option(
        16,
        "Steps of a block without a mask, for editing alone.",
        rule=NOT_NEGATIVE,
        default_text="16",
        from_checkpoint=True,
    )

    def check(self) -> None:
        """Raise ConfigError where a block would have steps without commits, or two schedules."""
        if self.num_to_transfer is not None and self.steps_per_block is not None:
            raise ConfigError(
                f"num_to_transfer is {self.num_to_transfer} and steps_per_block "
                f"{self.steps_per_block}; each says how many masks a step commits, so leave one out"
            )
        if self.minimal_topk > self.gen_length:
            raise ConfigError(
                f"minimal_topk is {self.minimal_topk}, gen_length {self.gen_length}; a block would "
                f"have no step, so use {self.gen_length} or less"
            )
        if (self.steps_per_block or 0) > self.block_length:
            raise ConfigError(
                f"steps_per_block is {self.steps_per_block}, block_length {self.block_length}; a "
                f"step commits one token at least, so use {self.block_length} or fewer"
            )

    @property
    def revises(self) -> bool:
        """Whether committed tokens are edited."""
        return self.editing_threshold is not None

    @property
    def split_among(self) -> int:
        """Steps among which the commits of a block that is generated whole are split."""
        if self.num_to_transfer is not None:
            return -(-self.block_length // self.num_to_transfer)
        steps = self.steps_per_block or self.block_length
        return min(steps, self.gen_length // self.minimal_topk)

    @property
    def most_steps_in_block(self) -> int:
        """The steps of a block in which no mask is sure, and those that only edit."""
        return self.split_among + (self.max_post_steps if self.revises else 0)
