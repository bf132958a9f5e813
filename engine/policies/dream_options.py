"""The options of Dream's sampler; apart from it, for the command line need not wait for torch."""

from __future__ import annotations

from dataclasses import dataclass

from ..options import NOT_NEGATIVE, SHARE, option
from .shaped_options import ShapedOptions


@dataclass(frozen=True)
class DreamOptions(ShapedOptions):
    """The names are those of the published generation config; `alg_temp` is in units of the
    confidence that it divides."""

    alg: str = option(
        "origin",
        "Which positions commit: by chance, or the surest by probability, margin or entropy.",
        choices=("origin", "maskgit_plus", "topk_margin", "entropy"),
        default_text="origin",
        from_checkpoint=True,
    )
    eps: float = option(
        1e-3,
        "Noise level at which the schedule ends.",
        rule=SHARE,
        default_text="0.001",
        from_checkpoint=True,
    )
    alg_temp: float = option(
        0.0,
        "Noise in the order of positions; 0 is the surest first.",
        rule=NOT_NEGATIVE,
        default_text="0",
        from_checkpoint=True,
    )
    numerics: str = option(
        "default",
        "`reference` reproduces the published code's dtypes and tie rules.",
        choices=("default", "reference"),
        default_text="default",
    )

    @property
    def published_numerics(self) -> bool:
        """`numerics` is `reference`."""
        return self.numerics == "reference"
