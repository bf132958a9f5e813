"""How many forward passes the problems of a run make, as far as anybody knows beforehand: exactly,
by their drawn schedules, or not more than so many."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from ..config import RunConfig
from ..models.loading import MaskedDiffusionModel
from ..policies import make_policy
from ..store.counts import count_text

DRAWN_PROBLEMS = 64
"""Schedules that are drawn for an estimate; their mean is known to a few parts in a thousand."""


class Passes(NamedTuple):
    """Steps with a forward pass of a problem.

    `mean`: over problems, the most of any where the schedule is free. `free`: the texts decide.
    `drawn`: of how many problems the mean is, 0 where all make the same steps.
    """

    mean: float
    free: bool
    drawn: int

    @property
    def may_be_fewer(self) -> bool:
        """Whether some problems leave steps out for which a run has room."""
        return self.free or self.drawn > 0

    def __str__(self) -> str:
        if self.free:
            return f"at most {_passes_text(self.mean)}"
        if self.drawn:
            schedules = count_text(self.drawn, "drawn schedule")
            return f"{self.mean:.1f} forward passes, mean of {schedules}"
        return _passes_text(self.mean)


def _passes_text(mean: float) -> str:
    return count_text(f"{mean:g}", "forward pass", "forward passes")


def passes_of(model: MaskedDiffusionModel, config: RunConfig, keys: Sequence[int]) -> Passes:
    """Of the problems whose noise has these keys; the first ones stand for all."""
    policy = make_policy(
        config.policy, config.sampler, model.token_ids, n_candidates=model.n_candidates
    )
    most = sum(policy.performed)
    if policy.free_schedule:
        return Passes(most, free=True, drawn=0)
    counts = [sum(policy.performed_for(key)) for key in keys[:DRAWN_PROBLEMS]]
    if all(count == most for count in counts):
        return Passes(most, free=False, drawn=0)
    return Passes(sum(counts) / len(counts), free=False, drawn=len(counts))
