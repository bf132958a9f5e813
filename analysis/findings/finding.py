"""What a finding is: quantities of a whole run, made from what one pass over it has left.

A finding is one object in one file and one row of `FINDINGS` (analysis/registry.py).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from ...engine.store import Run
    from ..branching.beside import Branches
    from ..groups import Groups
    from ..metrics.trajectories import Trajectories
    from ..quantity import Quantity
    from ..samples.votes import Votes
    from ..settings import Settings
    from .s_curve import SCurveResult


@dataclass(frozen=True)
class Material:
    """What findings are made from.

    `metrics`: the mean over problems of every metric. `curve`: the S-curve of the confidence that
    the settings name. `exits`: what each early-exit rule would have done, [row]. `branches`:
    what the branch runs in the run's folder say, None where there are none. `votes`: what the
    samples of each problem say, None where each has one.
    """

    run: Run
    settings: Settings
    trajectories: Trajectories
    metrics: Mapping[str, Quantity]
    curve: SCurveResult
    exits: Mapping[str, np.ndarray]
    branches: Branches | None = None
    votes: Votes | None = None

    def recorded(self, metric: str) -> np.ndarray:
        """[problem, step] of a metric, all NaN where the run did not record the positions that it
        needs."""
        return self.trajectories.recorded(metric)

    @property
    def steps(self) -> int:
        """Number of steps of the run."""
        return len(self.trajectories.cka_matrix.mean)

    @property
    def groups(self) -> Groups:
        """Which rows are samples of one problem."""
        return self.trajectories.groups

    @property
    def verdict(self) -> np.ndarray:
        """[row] code of the verdict."""
        return self.trajectories.columns["verdict"]


@dataclass(frozen=True)
class Finding:
    """`names`: exactly the quantities that `make` returns, in their order. `asked`: whether the
    settings ask for it; without it, always. `there`: whether the run has what it is made from;
    without it, always."""

    names: tuple[str, ...]
    make: Callable[[Material], dict[str, Quantity]]
    asked: Callable[[Settings], bool] | None = None
    there: Callable[[Material], bool] | None = None

    def is_asked(self, settings: Settings) -> bool:
        """Whether an analysis with these settings holds it."""
        return self.asked is None or self.asked(settings)

    def is_made(self, material: Material) -> bool:
        """Whether an analysis of this material holds it."""
        has_source = self.there is None or self.there(material)
        return has_source and self.is_asked(material.settings)
