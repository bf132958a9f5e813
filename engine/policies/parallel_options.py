"""The options of the parallel policies; apart from them, for the command line need not wait for
torch."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from math import isfinite
from typing import Any

from ..options import SEED, ConfigError, Rule, option
from .block_options import BlockOptions

FINITE = Rule(isfinite, "it must be a finite number")


@dataclass(frozen=True)
class ParallelOptions(BlockOptions):
    """Of a parallel policy `steps` is the most that a row may take, by default one for each token:
    every step commits a token at least."""

    seed: int = option(0, "Key of the counter-based noise.", rule=SEED, default_text="0")

    def check(self) -> None:
        """Raise ConfigError unless blocks divide the length, which is the most steps there can
        be."""
        super().check()
        if self.steps > self.gen_length:
            raise ConfigError(
                f"steps is {self.steps}, gen_length {self.gen_length}; a step of this policy "
                f"commits one token at least, so use {self.gen_length} or fewer, or leave it out"
            )

    @classmethod
    def values_of(cls, given: Mapping[str, Any], checkpoint: Mapping[str, Any]) -> dict[str, Any]:
        """As of every policy with blocks, but that a checkpoint's number of steps is not meant for
        this one."""
        values = super().values_of(given, checkpoint)
        if "steps" not in given:
            values["steps"] = values["gen_length"]
        return values


@dataclass(frozen=True)
class ThresholdOptions(ParallelOptions):
    """`threshold` is a probability; nothing reaches one above 1."""

    threshold: float = option(
        0.9,
        "Probability from which on a token commits; above 1: one token a step.",
        rule=FINITE,
        default_text="0.9",
    )
