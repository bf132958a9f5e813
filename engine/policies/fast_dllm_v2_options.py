"""The options of Fast-dLLM v2's sampler; apart from it, for the command line need not wait for
torch."""

from __future__ import annotations

from dataclasses import dataclass

from ..options import AT_LEAST_ONE, SHARE, ConfigError, option
from .block_diffusion_options import ShapedBlockOptions


@dataclass(frozen=True)
class FastDLLMv2Options(ShapedBlockOptions):
    """The names are those of the published generation, but for `small_block_size`, which is
    `sub_block_length` here."""

    sub_block_length: int = option(
        8,
        "Parts of a block that are finished from left to right.",
        rule=AT_LEAST_ONE,
        default_text="8",
        from_checkpoint=True,
    )
    threshold: float = option(
        0.95,
        "Probability above which a token commits.",
        rule=SHARE,
        default_text="0.95",
        from_checkpoint=True,
    )

    top_p: float = option(
        0.95,
        "Draw from the most probable tokens with this mass; 1 is all.",
        rule=SHARE,
        default_text="0.95",
        from_checkpoint=True,
    )

    def check(self) -> None:
        """Raise ConfigError unless parts divide the block."""
        if self.block_length % self.sub_block_length:
            raise ConfigError(
                f"sub_block_length {self.sub_block_length} does not divide block_length "
                f"{self.block_length}; use one that does, or {self.block_length} for no parts"
            )
