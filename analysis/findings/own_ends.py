"""From where to where a value goes that only a running problem has, where problems end at different
steps: paired, from each problem's own first value to its own last.

The mean of the last step is then over the one or two slowest problems, and no end of anything.
"""

from __future__ import annotations

from typing import TypedDict

import numpy as np

from ..groups import Groups
from ..means import mean_over_problems
from ..metrics.loading import Metrics
from ..metrics.trajectories import Trajectories
from .by_verdict import OUTCOMES, SPLITS


class OwnEnds(TypedDict):
    """Means over the `n` problems with two values or more: of the first, of the last, and of their
    difference, which has the paired standard error."""

    first: float
    last: float
    change: float
    change_stderr: float
    n: int


def own_ends(metrics: Metrics, trajectories: Trajectories) -> dict[str, OwnEnds]:
    """`OwnEnds` by metric, of all that a problem that has ended does not keep, or that has no
    value before its block opens; empty where all problems make the same steps with all their
    positions."""
    if not (trajectories.ends_differ or trajectories.of_blocks):
        return {}
    ends = {}
    groups = trajectories.groups
    for name, metric in metrics.by_name.items():
        if not metric.kept or trajectories.grows(name):
            ends[name] = ends_of(trajectories.recorded(name), groups)
    verdict = trajectories.columns["verdict"]
    for split in SPLITS:
        if split.metric in ends:
            chosen = verdict == OUTCOMES[split.outcome]
            values = trajectories.recorded(split.metric)[chosen]
            ends[split.name] = ends_of(values, groups.chosen(chosen))
    return ends


def ends_of(values: np.ndarray, groups: Groups | None = None) -> OwnEnds:
    """The own ends of `values` [row, step], NaN where a row has none; `groups`: which rows are
    samples of one problem."""
    known = [row[np.isfinite(row)] for row in values]
    has_ends = np.array([len(row) > 1 for row in known], bool)
    pairs = [(row[0], row[-1]) for row in known if len(row) > 1]
    first, last = np.array(pairs, np.float64).reshape(-1, 2).T
    of_pairs = None if groups is None else groups.chosen(has_ends)
    moved = mean_over_problems(last - first, of_pairs)
    return OwnEnds(
        first=float(mean_over_problems(first, of_pairs).mean),
        last=float(mean_over_problems(last, of_pairs).mean),
        change=float(moved.mean),
        change_stderr=float(moved.stderr),
        n=int(moved.n),
    )
