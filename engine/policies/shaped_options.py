"""The options of policies that draw tokens from a distribution that temperature, top-p and top-k
shape; without torch, for the command line."""

from __future__ import annotations

from dataclasses import dataclass

from ..decoding.policy import PolicyOptions
from ..options import NOT_NEGATIVE, SEED, SHARE, option


@dataclass(frozen=True)
class ShapedOptions(PolicyOptions):
    """Temperature divides the logits; in which order the cuts come is the policy's."""

    temperature: float = option(
        0.0,
        "Gumbel noise temperature; 0 is greedy.",
        rule=NOT_NEGATIVE,
        default_text="0",
        from_checkpoint=True,
    )
    top_p: float = option(
        1.0,
        "Draw from the most probable tokens with this mass; 1 is all.",
        rule=SHARE,
        default_text="1",
        from_checkpoint=True,
    )
    top_k: int = option(
        0,
        "Draw from this many most probable tokens; 0 is all.",
        rule=NOT_NEGATIVE,
        default_text="0",
        from_checkpoint=True,
    )
    seed: int = option(0, "Key of the counter-based noise.", rule=SEED, default_text="0")
