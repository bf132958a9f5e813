"""What a metric is: a function that gives each problem and step a value, and what is to be said of
it.

A metric is one object in one file and one row of `METRICS` (analysis/registry.py). A stranger's
needs no row: an entry point of the group `diffengine.metrics`, or `--metric package.module:object`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from .block import Block

NO_POSITION = "no recorded value at such positions"
NO_GOLD = "no problem has a gold answer"
NO_GOLD_VALUE = "no problem has a gold answer and a recorded value"
NO_ANSWER = "no problem has an extracted answer"
NO_SLOT = "no problem has both a gold answer and an extracted answer"
NO_VALUE = "no problem has a value"


@dataclass(frozen=True)
class Metric:
    """A value for each problem and step, averaged over problems afterwards.

    `function`: Block -> [problem, step] floats, NaN where undefined. `units` and `label` are shown
    with the mean. `variables`: the recorded variables that it reads; a run without one of them has
    no such quantity and says so. `missing`: why there may be no value at all. `every_position`:
    undefined unless the run recorded all generated positions. `share`: every value is 0 or 1, so
    that the mean is a share of problems and has an interval instead of a standard error.

    `kept`: a problem that has ended keeps the value of its end, because the value is about an
    answer that stands by then. Without it the value is about a forward pass, and there is none
    after the end: the mean of a step is over the problems still running.
    """

    function: Callable[[Block], np.ndarray]
    units: str
    label: str
    variables: tuple[str, ...]
    missing: str = NO_VALUE
    every_position: bool = False
    share: bool = False
    kept: bool = False
