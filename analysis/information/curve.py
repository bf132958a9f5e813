"""A curve of information over the steps of a run: what it is called, what it is made from, and one
point of it.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from .features import FEATURES

if TYPE_CHECKING:
    from .step_sample import StepSample

PREFIXES = {"correct": "mi", "size": "mi_size"}
"""Y -> what its quantities are called: `mi/<name>`, and `mi_p/<name>` for their p-values."""

LATE = 100
"""Place of a curve that names none: behind ours."""

LINEAR_SCORE = "tested by a linear score of the same state, refitted for each permutation"
"""What `tested_by` says of curves whose own statistic is too dear for every permutation."""


class Point(NamedTuple):
    """A curve at one step, in nats.

    `null` [1 + B] is the statistic that is tested: as observed, then under B permutations of y.
    `limited`: the value drifts with n or k by more than its error.
    """

    nats: float
    stderr: float
    null: np.ndarray
    limited: bool


@dataclass(frozen=True)
class Curve:
    """One curve that an estimator adds to every analysis.

    `features`: what X is, a name of features.py. `target`: what Y is, "correct" (whether the answer
    came out right; labels 0 and 1) or "size" (log size of the gold answer; floats).

    `point` makes one step of it; without one the estimator itself is called for the value, for the
    subsamples of its standard error and for every permutation. `tested_by` is added to the label of
    the p-values where they test something else than the value.

    `on_dashboard`: drawn in the panel of mutual information. `order`: curves with a smaller number
    come first, the first one is shown first. Raises ValueError where the parts do not fit.
    """

    name: str
    label: str
    features: str
    target: str = "correct"
    point: Callable[[StepSample], Point] | None = None
    tested_by: str = ""
    on_dashboard: bool = True
    order: int = LATE

    def __post_init__(self) -> None:
        if not re.fullmatch(r"[A-Za-z][A-Za-z0-9_-]*", self.name):
            raise ValueError(
                f"a curve is called {self.name!r}; expected a letter, then letters, digits, - and _"
            )
        if self.features not in FEATURES:
            raise ValueError(
                f"curve {self.name}: no features are called {self.features!r}; there are: "
                f"{', '.join(FEATURES)}"
            )
        if self.target not in PREFIXES:
            raise ValueError(
                f"curve {self.name}: no target is called {self.target!r}; there are: "
                f"{', '.join(PREFIXES)}"
            )

    @property
    def quantity(self) -> str:
        """Name of its estimates in bits, such as "mi/ross"."""
        return f"{PREFIXES[self.target]}/{self.name}"

    @property
    def p_quantity(self) -> str:
        """Name of its p-values, such as "mi_p/ross"."""
        return f"{PREFIXES[self.target]}_p/{self.name}"
