"""The sensitivity map: what comes of it when each position alone is acted on, at each step.

It is made of the effects of one action at `each` position. Shapes: N decodings, P problems, K
steps, G positions.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np

from ...engine.branching.interventions import Intervention, parse_interventions
from .effects import Effects
from .resampling import Resampled, mean_interval, problem_means

EACH = "each"


class ByDistance(NamedTuple):
    """Means over problems by the distance to the answer: `distance` [D] in positions, 0 in the
    answer, negative before it; `mean` [K, D] and `n` [K, D] problems."""

    distance: np.ndarray
    mean: np.ndarray
    n: np.ndarray


@dataclass(frozen=True, eq=False)
class SensitivityMap:
    """`text`: what was done at each position, as `remask each`. `numbers` [G]: the interventions
    that did it. `effects`: those of the branch run."""

    text: str
    numbers: np.ndarray
    effects: Effects

    @property
    def steps(self) -> np.ndarray:
        """[K] the steps at which it was done."""
        return self.effects.steps

    def of_decodings(self, measure: str) -> np.ndarray:
        """[N, K, G] one of `effects.MEASURES`; NaN where it could not be done, as at a mask."""
        values = self.effects.by_decoding(getattr(self.effects, measure))
        return np.asarray(values[:, self.numbers].transpose(0, 2, 1))

    def mean(self, measure: str, *, seed: int = 0) -> Resampled:
        """[K, G] the mean over problems with its 95 % interval, each position of a problem with the
        same of others."""
        values = problem_means(self.of_decodings(measure), self.effects.groups)
        found = mean_interval(values.reshape(len(values), -1), seed=seed)
        return Resampled(*(part.reshape(values.shape[1:]) for part in found))

    def by_distance(self, measure: str) -> ByDistance:
        """The mean over problems of positions equally far from the answer; within a problem the
        positions at one distance, which are those of the answer, are averaged first."""
        values = self.of_decodings(measure)
        positions = values.shape[2]
        distance = np.arange(1 - positions, positions)
        moved = np.full((*values.shape[:2], len(distance)), np.nan)
        for row, (start, end) in enumerate(self.effects.span.tolist()):
            if start < 0:
                continue
            for place, at in enumerate(distance.tolist()):
                there = _at_distance(at, start, end, positions)
                moved[row, :, place] = _mean(values[row][:, there])
        by_problem = problem_means(moved, self.effects.groups)
        return ByDistance(distance, _mean_of_problems(by_problem), np.isfinite(by_problem).sum(0))


def sensitivity_maps(effects: Effects) -> list[SensitivityMap]:
    """One map for every action that was taken at each position, in the order of the
    interventions."""
    positions = effects.changed.shape[1]
    interventions = parse_interventions(effects.texts, gen_length=positions)
    numbers: dict[str, dict[int, int]] = {}
    for number, intervention in enumerate(interventions):
        position = _only_position(intervention)
        if position is not None:
            numbers.setdefault(_everywhere(intervention), {})[position] = number
    maps = []
    for text, of_text in numbers.items():
        if len(of_text) == positions:
            order = np.array([of_text[position] for position in range(positions)])
            maps.append(SensitivityMap(text, order, effects))
    return maps


def _only_position(intervention: Intervention) -> int | None:
    """The one position that all actions of an intervention name; None where they name others."""
    places = [action.where for action in intervention.actions if action.where is not None]
    starts = {place.start if place.is_position else None for place in places}
    return starts.pop() if len(starts) == 1 else None


def _everywhere(intervention: Intervention) -> str:
    """The text of the intervention with `each` for its position."""
    actions = []
    for action in intervention.actions:
        place = action.where
        if place is None:
            actions.append(action.text)
        else:
            each = replace(place, word=EACH, start=0, stop=0)
            actions.append(action.text.replace(f" {place.text}", f" {each.text}", 1))
    return "; ".join(actions)


def _at_distance(distance: int, start: int, end: int, positions: int) -> Sequence[int]:
    """The positions so far from an answer from `start` to `end`."""
    if distance == 0:
        return range(start, end)
    at = start + distance if distance < 0 else end - 1 + distance
    return [at] if 0 <= at < positions else []


def _mean(values: np.ndarray) -> np.ndarray:
    """[K] mean over the finite `values` [K, any]; NaN without one."""
    finite = np.isfinite(values)
    n = finite.sum(axis=1)
    total = np.where(finite, values, 0.0).sum(axis=1)
    return np.where(n > 0, total / np.maximum(n, 1), np.nan)


def _mean_of_problems(values: np.ndarray) -> np.ndarray:
    """[K, D] mean over the finite `values` [P, K, D]."""
    finite = np.isfinite(values)
    n = finite.sum(axis=0)
    total = np.where(finite, values, 0.0).sum(axis=0)
    return np.asarray(np.where(n > 0, total / np.maximum(n, 1), np.nan))
