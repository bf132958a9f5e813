"""Options of policies that work through blocks of positions from left to right; no torch."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from ..decoding.policy import PolicyOptions
from ..options import AT_LEAST_ONE, NOT_NEGATIVE, ConfigError, option


@dataclass(frozen=True)
class BlockOptions(PolicyOptions):
    """Lengths in tokens; `temperature` in nats of logit noise scale."""

    block_length: int = option(
        128,
        "Block length.",
        rule=AT_LEAST_ONE,
        default_text="the checkpoint's own, else one block",
        from_checkpoint=True,
    )
    temperature: float = option(
        0.0,
        "Gumbel noise temperature; 0 is greedy.",
        rule=NOT_NEGATIVE,
        default_text="0",
        from_checkpoint=True,
    )

    def check(self) -> None:
        """Raise ConfigError unless blocks divide the length."""
        if self.gen_length % self.block_length:
            divisors = [d for d in range(1, self.gen_length + 1) if self.gen_length % d == 0]
            nearest_two = sorted(divisors, key=lambda d: abs(d - self.block_length))[:2]
            raise ConfigError(
                f"block_length {self.block_length} does not divide gen_length {self.gen_length}; "
                f"use {' or '.join(map(str, sorted(nearest_two)))}"
            )

    def check_schedule(self) -> None:
        """Raise ConfigError unless steps divide among blocks."""
        if self.steps % self.n_blocks:
            lower = self.steps - self.steps % self.n_blocks
            possible = [steps for steps in (lower, lower + self.n_blocks) if steps]
            raise ConfigError(
                f"steps {self.steps} is not a multiple of the {self.n_blocks} blocks (gen_length "
                f"{self.gen_length} / block_length {self.block_length}); use "
                f"{' or '.join(map(str, possible))}"
            )

    @property
    def n_blocks(self) -> int:
        return self.gen_length // self.block_length

    @property
    def steps_per_block(self) -> int:
        return self.steps // self.n_blocks

    @classmethod
    def values_of(cls, given: Mapping[str, Any], checkpoint: Mapping[str, Any]) -> dict[str, Any]:
        """As of every policy; blocks that were not given are the checkpoint's where they can hold,
        else one block."""
        values = super().values_of(given, checkpoint)
        gen_length = values.setdefault("gen_length", cls.gen_length)
        of_checkpoint = "block_length" in values and "block_length" not in given
        if "gen_length" in given and of_checkpoint and gen_length % values["block_length"]:
            del values["block_length"]
        values.setdefault("block_length", gen_length)
        return values
