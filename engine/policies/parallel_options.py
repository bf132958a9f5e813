"""The options of the parallel policies; apart from them, for the command line need not wait for
torch."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from math import isfinite
from typing import Any

from ..options import AT_LEAST_ONE, NOT_NEGATIVE, SEED, ConfigError, Rule, option
from .block_options import BlockOptions

FINITE = Rule(isfinite, "it must be a finite number")


@dataclass(frozen=True)
class ParallelOptions(BlockOptions):
    """Of a parallel policy `steps` is the most that a row may take, by default one for each token:
    every step commits a token at least."""

    steps: int = option(
        128, "Denoising steps.", rule=AT_LEAST_ONE, default_text="one for each token"
    )
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
        """As of every policy with blocks, but for the number of steps: a checkpoint's is meant for
        its own sampler."""
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


@dataclass(frozen=True)
class FactorOptions(ParallelOptions):
    """`factor` has no unit; nothing reaches one below 0, unless it `take_last`."""

    factor: float = option(
        1.0,
        "The n-th surest token commits if p >= 1 - factor / (n + 1); below 0: one token a step.",
        rule=FINITE,
        default_text="1",
    )
    take_last: bool = option(
        False,
        "Commit the last mask of a block with the others though it alone fails, as the published "
        "code does.",
    )


@dataclass(frozen=True)
class EntropyThresholdOptions(ParallelOptions):
    """`max_entropy` in nats; nothing reaches one below 0."""

    max_entropy: float = option(
        0.5,
        "Entropy in nats up to which a token commits; below 0: one token a step.",
        rule=FINITE,
        default_text="0.5",
    )


@dataclass(frozen=True)
class EntropyBoundOptions(ParallelOptions):
    """`bound` in nats; nothing reaches one below 0."""

    bound: float = option(
        0.1,
        "Nats that the entropies of a step's tokens, the largest left out, may sum up to; below "
        "0: one token a step.",
        rule=FINITE,
        default_text="0.1",
    )
    order: str = option(
        "entropy",
        "Which positions an entropy bound takes first: of least entropy, or of most confidence.",
        choices=("entropy", "confidence"),
        default_text="entropy",
    )


@dataclass(frozen=True)
class MarginOptions(ParallelOptions):
    """`min_margin` is a difference of two probabilities; nothing reaches one above 1."""

    min_margin: float = option(
        0.8,
        "Lead of the most probable token over the next from which on it commits; above 1: one "
        "token a step.",
        rule=FINITE,
        default_text="0.8",
    )


@dataclass(frozen=True)
class ScheduledOptions(ParallelOptions):
    """Of a policy that falls back on LLaDA's schedule of `steps`."""

    def check(self) -> None:
        """Raise ConfigError unless steps divide among the blocks as well."""
        super().check()
        self.check_schedule()


@dataclass(frozen=True)
class KlassOptions(ScheduledOptions):
    """`kl_threshold` in nats. Nothing is surer than a `confidence_threshold` of 1."""

    kl_threshold: float = option(
        0.01,
        "Nats below which the KL divergence to the step before is stable.",
        rule=FINITE,
        default_text="0.01",
    )
    confidence_threshold: float = option(
        0.9,
        "Probability above which a stable token commits; 1: LLaDA's schedule.",
        rule=FINITE,
        default_text="0.9",
    )
    history: int = option(
        2,
        "Steps in a row that a token must be stable for.",
        rule=AT_LEAST_ONE,
        default_text="2",
    )


@dataclass(frozen=True)
class ProphetOptions(ScheduledOptions):
    """Gaps are in nats, of logits; positions count from the first generated token."""

    answer_start: int | None = option(
        None,
        "First position of the answer that an early exit looks at.",
        rule=NOT_NEGATIVE,
        default_text="four fifths of gen_length",
    )
    answer_length: int = option(5, "Positions of that answer.", rule=AT_LEAST_ONE, default_text="5")
    gap_early: float = option(
        7.5, "Mean logit gap that ends a row in the first third.", rule=FINITE, default_text="7.5"
    )
    gap_middle: float = option(5.0, "The same in the second third.", rule=FINITE, default_text="5")
    gap_late: float = option(2.5, "The same in the last third.", rule=FINITE, default_text="2.5")

    def check(self) -> None:
        """Raise ConfigError unless the answer begins among the generated positions as well."""
        super().check()
        if self.answer_start is not None and self.answer_start >= self.gen_length:
            raise ConfigError(
                f"answer_start is {self.answer_start}, gen_length {self.gen_length}; use "
                f"{self.gen_length - 1} or less"
            )

    @property
    def answer(self) -> slice:
        """The positions that are looked at; those beyond the last are left out."""
        start = self.answer_start
        if start is None:
            start = self.gen_length * 4 // 5
        return slice(start, min(start + self.answer_length, self.gen_length))
