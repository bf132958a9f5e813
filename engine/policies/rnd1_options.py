"""The options of RND1's sampler; apart from it, for the command line need not wait for torch."""

from __future__ import annotations

from dataclasses import dataclass

from ..options import NOT_NEGATIVE, option
from .shaped_options import ShapedOptions


@dataclass(frozen=True)
class RND1Options(ShapedOptions):
    """Warm unless told otherwise, as in the published generation config."""

    temperature: float = option(
        0.1,
        "Gumbel noise temperature; 0 is greedy.",
        rule=NOT_NEGATIVE,
        default_text="0.1",
        from_checkpoint=True,
    )
