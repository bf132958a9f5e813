"""The options that all policies of block diffusion share; without torch, for the command line."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

from ..decoding.policy import PolicyOptions
from ..options import AT_LEAST_ONE, NOT_NEGATIVE, SEED, option
from .shaped_options import ShapedOptions

UNSAID = 1
"""Stands for the number of steps while it is worked out."""


@dataclass(frozen=True)
class BlockDiffusionOptions(PolicyOptions):
    """`steps` is the most that a problem may take, which is as many as its blocks can use where
    nobody says otherwise; a problem that needs more leaves with masks."""

    of_blocks: ClassVar[bool] = True

    of_network: ClassVar[frozenset[str]] = frozenset({"block_length"})

    steps: int = option(
        128,
        "Denoising steps.",
        rule=AT_LEAST_ONE,
        default_text="as many as the blocks can use",
    )
    block_length: int = option(
        32,
        "Block length.",
        rule=AT_LEAST_ONE,
        default_text="the checkpoint's own",
        from_checkpoint=True,
    )
    temperature: float = option(
        0.0,
        "Gumbel noise temperature; 0 is greedy.",
        rule=NOT_NEGATIVE,
        default_text="0",
        from_checkpoint=True,
    )
    eos_early_stop: bool = option(
        True,
        "End a problem with the block that holds the end of the sequence or of the turn.",
        from_checkpoint=True,
    )
    seed: int = option(0, "Key of the counter-based noise.", rule=SEED, default_text="0")

    @property
    def positions_at_once(self) -> int:
        """Those of the open block."""
        return self.block_length

    @property
    def most_steps_in_block(self) -> int:
        """The most steps that one block can use; here one for each token."""
        return self.block_length

    @property
    def most_blocks(self) -> int:
        """The most blocks that a problem can have: the first may begin with all but one of its
        tokens in the prompt."""
        return -(-(self.gen_length + self.block_length - 1) // self.block_length)

    @classmethod
    def values_of(cls, given: Mapping[str, Any], checkpoint: Mapping[str, Any]) -> dict[str, Any]:
        """As of every policy; steps that were not given are as many as the blocks can use."""
        values = super().values_of(given, checkpoint)
        if "steps" not in given:
            sized = cls(**{**values, "steps": UNSAID})
            values["steps"] = sized.most_blocks * sized.most_steps_in_block
        return values


@dataclass(frozen=True)
class ShapedBlockOptions(BlockDiffusionOptions, ShapedOptions):
    """Of policies that draw tokens from what top-k and top-p leave."""
