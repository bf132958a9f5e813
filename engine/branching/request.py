"""What somebody asks of branches, and what is refused before anything is read or loaded."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ..models.loading import MaskedDiffusionModel
from ..options import ConfigError
from ..runs.execution import Execution

FRESH = "fresh"
PARENT = "parent"
NOISES = (FRESH, PARENT)

SAMPLES = 16
"""Branches of a state where nobody says how many: enough to tell four bits apart."""

GRID_STEPS = 8
"""Steps of the grid where nobody names any."""

CHANGEABLE = ("temperature", "seed")
"""Settings of the parent that a branch may have otherwise: states stay what they were."""


@dataclass(frozen=True)
class BranchRequest:
    """The arguments of `branch`. `at` None: `GRID_STEPS` steps, evenly from 0. `samples` None: 16
    where nothing is done, 1 where an intervention is. `noise` None: fresh for several samples, the
    parent's for one."""

    run: Path
    at: Sequence[int] | None = None
    do: Sequence[str] = ()
    samples: int | None = None
    noise: str | None = None
    ids: Collection[str] | None = None
    limit: int | None = None
    record: str = "answers"
    model: str | Path | MaskedDiffusionModel | None = None
    execution: Execution = field(default_factory=Execution)
    settings: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if self.samples is not None and self.samples < 1:
            raise ConfigError(f"samples is {self.samples}; it must be at least 1")
        if self.noise not in (None, *NOISES):
            raise ConfigError(f"noise is {self.noise!r}; use one of {', '.join(NOISES)}")
        if self.noise == PARENT and self.n_samples > 1:
            raise ConfigError(
                f"samples is {self.n_samples} with the parent's noise: all branches of a state "
                "would be equal; use samples 1, or noise fresh"
            )
        if self.noise_name == PARENT and "seed" in self.settings:
            raise ConfigError(
                f"seed is {self.settings['seed']} with the parent's noise, which is that of the "
                "parent's seed; leave seed out, or use noise fresh"
            )
        if self.at is not None and not self.at:
            raise ConfigError("at is empty; name at least one step")
        strange = [name for name in self.settings if name not in CHANGEABLE]
        if strange:
            raise ConfigError(
                f"{', '.join(strange)} cannot differ from the parent run's; a branch may change "
                f"{' and '.join(CHANGEABLE)}"
            )

    @property
    def n_samples(self) -> int:
        """How many branches each state gets."""
        if self.samples is not None:
            return self.samples
        return 1 if self.do or self.noise == PARENT else SAMPLES

    @property
    def noise_name(self) -> str:
        """`fresh` or `parent`."""
        if self.noise is not None:
            return self.noise
        return PARENT if self.n_samples == 1 else FRESH


def default_grid(steps: int) -> list[int]:
    """`GRID_STEPS` steps, evenly from 0, or all where there are fewer. A branch from each, of a
    decoding with one pass a step, makes (`GRID_STEPS` + 1) / 2 times the passes of its parent."""
    count = min(GRID_STEPS, steps)
    return sorted({number * steps // count for number in range(count)})
