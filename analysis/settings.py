"""The choices of an analysis, and whether they can be."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from .errors import SettingError, check_named
from .registry import SPIKE_RULES, confidence_methods

if TYPE_CHECKING:
    from ..engine.store import Run

SAMPLER = (
    "policy",
    "temperature",
    "cfg_scale",
    "remasking",
    "logits_eos_inf",
    "confidence_eos_eot_inf",
    "seed",
    "numerics",
    "dtype",
    "prompt_style",
    "record",
)
"""Settings of the run that an analysis repeats."""


@dataclass(frozen=True)
class Settings:
    """The choices of an analysis, kept with its results; `analysis_seed` is not the sampler's
    seed."""

    confidence_method: str
    spike_rule: str
    spike_threshold: float
    threshold_low: float
    threshold_high: float
    analysis_seed: int
    averaged: bool
    answer_position: int | None = None
    n_bins: int = 10
    k: int = 3

    def check(self, run: Run, metrics: Collection[str]) -> None:
        """Raises SettingError for an unknown name, thresholds out of order, or an answer position
        that `run` did not generate. `metrics`: the names of those that there are."""
        methods = [name for name in confidence_methods() if f"confidence/{name}" in metrics]
        check_named("confidence method", methods, self.confidence_method)
        check_named(SPIKE_RULES.kind, SPIKE_RULES, self.spike_rule)
        if not self.threshold_low <= self.threshold_high:
            raise SettingError(
                f"threshold_low {self.threshold_low} is above threshold_high "
                f"{self.threshold_high}; swap them"
            )
        length = int(run.info["config"]["gen_length"])
        position = self.answer_position
        if position is not None and not 0 <= position < length:
            raise SettingError(
                f"answer_position {position} is not a generated position; expected 0 to "
                f"{length - 1}"
            )

    def record(self, run: Run) -> dict[str, Any]:
        """What an analysis keeps: the run's settings that it repeats, and these."""
        config = run.info["config"]
        sampler = {name: value for name, value in config.items() if name in SAMPLER}
        return sampler | asdict(self)
