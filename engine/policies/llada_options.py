"""The options of LLaDA's sampler; apart from it, for the command line need not wait for torch."""

from __future__ import annotations

from dataclasses import dataclass

from ..options import NOT_NEGATIVE, SEED, option
from .block_options import BlockOptions


@dataclass(frozen=True)
class LLaDAOptions(BlockOptions):
    """The names are those of the published generate.py."""

    cfg_scale: float = option(0.0, "Classifier-free guidance.", rule=NOT_NEGATIVE, default_text="0")
    remasking: str = option(
        "low_confidence",
        "Commit rule.",
        choices=("low_confidence", "random"),
        default_text="low_confidence",
    )
    logits_eos_inf: bool = option(False, "Never predict <|endoftext|>.")
    confidence_eos_eot_inf: bool = option(False, "Commit <|endoftext|>, <|eot_id|> last.")
    seed: int = option(0, "Key of the counter-based noise.", rule=SEED, default_text="0")
    numerics: str = option(
        "default",
        "`reference` reproduces the published code's dtypes and tie rules.",
        choices=("default", "reference"),
        default_text="default",
    )

    def check(self) -> None:
        """Raise ConfigError unless blocks divide the length, and steps divide among blocks."""
        super().check()
        self.check_schedule()

    @property
    def guidance(self) -> float:
        """`cfg_scale`."""
        return self.cfg_scale

    @property
    def published_numerics(self) -> bool:
        """`numerics` is `reference`."""
        return self.numerics == "reference"
