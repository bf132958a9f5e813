"""The points of a curve as they come in, step by step, and the two quantities that they become."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from ..limits import status_of
from ..results import Quantity
from .curve import Point
from .sample import NATS
from .significance import max_t


class Named(NamedTuple):
    """A name and a label for a quantity."""

    name: str
    label: str


class Points:
    """The points of one curve over `steps`; NaN where none was put. Several threads may put."""

    def __init__(self, steps: int, permutations: int) -> None:
        self.nats = np.full(steps, np.nan)
        self._stderr = np.full(steps, np.nan)
        self._null = np.full((1 + permutations, steps), np.nan)
        self._n = np.zeros(steps, np.int64)
        self._is_limited = np.zeros(steps, bool)

    def put(self, step: int, point: Point, n: int) -> None:
        """Keep the point of `step`, made from `n` problems."""
        self.nats[step] = point.nats
        self._stderr[step] = point.stderr
        self._null[:, step] = point.null
        self._n[step] = n
        self._is_limited[step] = point.limited

    @property
    def limited(self) -> list[int]:
        """Steps at which the estimate drifts with n or k by more than its error."""
        return [int(step) for step in np.flatnonzero(self._is_limited)]

    def quantities(self, estimate: Named, p: Named, *, missing: str = "") -> dict[str, Quantity]:
        """Estimates in bits with their standard errors, and p-values over all steps; `missing` says
        why there are none."""
        status = status_of(missing)
        dims = ("step",)
        bits = self.nats / NATS
        stderr = self._stderr / NATS
        p_values = max_t(self._null)
        return {
            estimate.name: Quantity(bits, dims, "bits", self._n, stderr, status, estimate.label),
            p.name: Quantity(p_values, dims, "1", self._n, None, status, p.label),
        }
