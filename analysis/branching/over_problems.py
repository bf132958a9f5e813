"""From values of each decoding and state to quantities over the steps of a run: means over problems
with their intervals.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from ...engine.store.counts import count_text
from ..limits import status_of
from ..quantity import Quantity
from .draws import Draws
from .per_state import StateValues
from .resampling import Resampled, mean_interval, problem_means, share_interval


class States(NamedTuple):
    """What all quantities are made from: the draws and their values, the steps of the run, the
    seed, and what every label says of states and continuations (`law`).

    Values are [decoding, K]; the last of the K states is the end, which is at no step of the run.
    """

    draws: Draws
    values: StateValues
    steps: int
    seed: int
    law: str

    def problems(self, values: np.ndarray) -> np.ndarray:
        """[problem, ...] the mean over the decodings of each problem."""
        return problem_means(values, self.draws.groups)

    def mean(self, values: np.ndarray, label: str, units: str) -> Quantity:
        """The mean over problems at each step, with the interval of resampled problems."""
        found = mean_interval(self.problems(values), seed=self.seed)
        return self.quantity(found, label, units)

    def share(self, values: np.ndarray, label: str) -> Quantity:
        """The same of values from 0 to 1, with Wilson's interval."""
        return self.quantity(share_interval(self.problems(values)), label, "1")

    def quantity(self, found: Resampled, label: str, units: str) -> Quantity:
        """`found` [K] put at its steps."""
        any_value = np.isfinite(found.mean[:-1]).any()
        return Quantity(
            values=self.on_steps(found.mean),
            dims=("step",),
            units=units,
            n=self.on_steps(found.n, missing=0),
            stderr=None,
            status=status_of("" if any_value else self.why_none()),
            label=f"{label}; {self.law}",
            interval=np.stack([self.on_steps(found.low), self.on_steps(found.high)]),
        )

    def single_mean(self, values: np.ndarray, label: str, units: str, *, missing: str) -> Quantity:
        """The mean over problems of one value of each decoding."""
        found = mean_interval(self.problems(values)[:, None], seed=self.seed)
        return self._single(found, label, units, missing)

    def single_share(self, values: np.ndarray, label: str, *, missing: str) -> Quantity:
        """The same of values from 0 to 1, with Wilson's interval."""
        return self._single(share_interval(self.problems(values)[:, None]), label, "1", missing)

    def on_steps(self, values: np.ndarray, missing: float = np.nan) -> np.ndarray:
        """`values` [..., K] at the steps of the run [..., step]; the end is left out."""
        out = np.full((*values.shape[:-1], self.steps), missing, values.dtype)
        out[..., self.draws.steps[:-1]] = values[..., :-1]
        return out

    def why_none(self) -> str:
        """Why no step has a value."""
        if not self.draws.missing:
            return "no problem with a value"
        missing = count_text(self.draws.missing, "branch", "branches")
        return (
            f"no problem has all branches of a state (R = {self.draws.samples}), {missing} "
            "missing; run the same `diffengine branch` again"
        )

    def _single(self, found: Resampled, label: str, units: str, missing: str) -> Quantity:
        return Quantity(
            values=np.asarray(found.mean[0]),
            dims=(),
            units=units,
            n=int(found.n[0]),
            stderr=None,
            status=status_of("" if np.isfinite(found.mean[0]) else missing),
            label=f"{label}; {self.law}",
            interval=np.stack([found.low[0], found.high[0]]),
        )
