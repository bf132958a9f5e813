"""An estimator of mutual information: its function, its options, what to know of it, and the curves
that it adds to an analysis.

An estimator is one file, which declares one `Estimator` beside its function, and one row of
`ESTIMATORS` in estimators.py; or an entry point of the group "diffengine.estimators" in somebody
else's package:

    def mine(x, y, *, seed=0): ...          # -> Estimate

    MINE = Estimator(
        mine,
        method="what it does",
        source="where it is from",
        caution="where it fails",
        targets=("labels",),
        curves=(Curve("mine", "I(correct; belief at the answer slot), mine", features="belief"),),
    )
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, fields
from typing import Any

import numpy as np

from .curve import Curve, Point
from .sample import Estimate
from .step_sample import StepSample

LABELS = "labels"
CONTINUOUS = "continuous"
TARGET_KINDS = {"correct": LABELS, "size": CONTINUOUS}
"""Y of a curve -> what it asks of the estimator."""


@dataclass(frozen=True)
class Estimator:
    """`function(x, y, options, seed=0) -> Estimate`, or `function(x, y, seed=0)` without options.

    x, y: [n] or [n, d], row by row pairs. `options`: the frozen dataclass of its options, each with
    a default. `method`, `source`, `caution`: what it does, who published it and where not to trust
    it, one line each. `targets`: the kinds of y that it takes, "labels", "continuous" or both.

    Raises ValueError for a curve whose target it does not take.
    """

    function: Callable[..., Estimate]
    method: str
    source: str
    caution: str
    targets: tuple[str, ...]
    options: type[Any] | None = None
    curves: tuple[Curve, ...] = ()

    def __post_init__(self) -> None:
        for curve in self.curves:
            kind = TARGET_KINDS[curve.target]
            if kind not in self.targets:
                raise ValueError(
                    f"curve {curve.name}: its target {curve.target!r} is {kind}; the estimator "
                    f"takes {' and '.join(self.targets)}"
                )

    @property
    def option_names(self) -> tuple[str, ...]:
        """What it can be told beside the seed."""
        if self.options is None:
            return ()
        return tuple(field.name for field in fields(self.options))

    def estimate(self, x: np.ndarray, y: np.ndarray, *, seed: int = 0, **options: Any) -> Estimate:
        """Its value for x and y. Raises ValueError as the function does."""
        if self.options is None:
            return self.function(x, y, seed=seed)
        return self.function(x, y, self.options(**options), seed=seed)

    def point(self, curve: Curve, sample: StepSample) -> Point:
        """One step of one of its `curves`. Raises whatever the estimator raises, and TypeError or
        ValueError for what is no point of this sample."""
        if curve.point is None:
            return self._plain_point(sample)
        point = curve.point(sample)
        if not isinstance(point, Point):
            raise TypeError(f"got a {type(point).__name__}; expected a Point")
        if np.shape(point.null) != (len(sample.permuted),):
            raise ValueError(
                f"null has shape {np.shape(point.null)}; expected ({len(sample.permuted)},), "
                "one value for each permutation"
            )
        return point

    def _plain_point(self, sample: StepSample) -> Point:
        """Value, standard error and null by calling the function again and again."""

        def of_rows(rows: np.ndarray, k: int) -> float:
            try:
                return self._nats(sample, sample.x[rows], sample.y[rows], k)
            except ValueError:  # what an estimator raises for too few rows
                return float("nan")

        null = [self._nats(sample, sample.x, labels, sample.k) for labels in sample.permuted]
        stability = sample.stability(of_rows)
        limited = stability.limited and "k" in self.option_names
        return Point(null[0], stability.stderr, np.array(null), limited)

    def _nats(self, sample: StepSample, x: np.ndarray, y: np.ndarray, k: int) -> float:
        settings = {"k": k, "n_bins": sample.n_bins}
        options = {name: value for name, value in settings.items() if name in self.option_names}
        estimate = self.estimate(x, y, seed=sample.seed, **options)
        if not isinstance(estimate, Estimate):
            raise TypeError(f"got a {type(estimate).__name__}; expected an Estimate")
        return estimate.nats
