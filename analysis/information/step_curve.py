"""One curve of an estimator while it is made: what it lacks, where it failed, what to say of it."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from ...engine.store.counts import count_text
from ..limits import MIN_CLASS, MIN_PROBLEMS, OF_RUNNING, lacking
from ..results import Quantity
from .estimators import EstimatorCurve, whose
from .layers import mean_point
from .points import Named, Points
from .step_sample import StepSample


class StepCurve:
    """A curve over `steps`.

    `missing`: why there can be none, or "". `available` [step]: problems that have features and Y
    there, whether they suffice or not. `of_running`: at each step of the problems still running
    alone. Several threads may add steps.
    """

    def __init__(self, member: EstimatorCurve, steps: int, permutations: int, missing: str) -> None:
        self.spec = member.curve
        self.of_running = False
        self.missing = missing
        self.available = np.zeros(steps, np.int64)
        self._member = member
        self._points = Points(steps, permutations)
        self._empty = Points(steps, permutations)
        self._failures: dict[int, str] = {}

    def add(self, step: int, samples: Sequence[StepSample], n: int) -> None:
        """Estimate the point of `step` from the layers of `n` problems. What the estimator raises
        ends this curve alone: later steps are not tried."""
        if any(earlier < step for earlier in list(self._failures)):
            return
        try:
            estimator = self._member.estimator
            points = [estimator.point(self.spec, sample) for sample in samples]
            self._points.put(step, mean_point(points), n)
        except Exception as error:  # an estimator may be anybody's and raise anything
            self._failures[step] = f"{type(error).__name__}: {error}"

    @property
    def limited(self) -> list[int]:
        """Steps at which the estimate drifts with n or k by more than its error."""
        return self._points.limited

    def quantities(self) -> dict[str, Quantity]:
        """Its estimates and p-values; all NaN where the estimator failed at any step."""
        points = self._empty if self._failures else self._points
        label = self.spec.label + (OF_RUNNING if self.of_running else "")
        p_label = f"p-value over all steps (max-T) of: {label}"
        if self.spec.tested_by:
            p_label += f"; {self.spec.tested_by}"
        return points.quantities(
            Named(self.spec.quantity, label),
            Named(self.spec.p_quantity, p_label),
            missing=self.missing or self._failure() or self._without_value(),
        )

    def warning(self) -> str:
        """What a reader must be told of this curve, or ""."""
        name = self.spec.quantity
        if self._failures:
            return f"{name}: {self._failure()}"
        limited = len(self.limited)
        if not limited:
            return ""
        known = int(np.isfinite(self._points.nats).sum())
        return (
            f"{name}: dimension-limited at {limited} of {count_text(known, 'step')}: it drifts "
            "with n or k by more than 2 standard errors, so that its bias exceeds its error"
        )

    def _failure(self) -> str:
        """The sentence about the first step at which the estimator raised, or ""."""
        if not self._failures:
            return ""
        step = min(self._failures)
        row = self._member.row
        name = f"estimator {row.name}" if self._member.is_ours else whose(row)
        return f"{name} failed at step {step}: {self._failures[step]}"

    def _without_value(self) -> str:
        if np.isfinite(self._points.nats).any():
            return ""
        most = int(self.available.max(initial=0))
        return (
            f"no step has features of {MIN_PROBLEMS} problems with {MIN_CLASS} of each outcome: at "
            f"best {lacking(most, MIN_PROBLEMS, 'problem(s)')}"
        )
