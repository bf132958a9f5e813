"""Accuracy under parallelism (AUP): one number for a method that trades accuracy for tokens per
forward pass.

Qian et al. 2026, "d3LLM" (arXiv 2601.07568), as its leaderboard computes it: the area under
accuracy over tokens per forward pass, from zero on, where accuracy below the best counts
exponentially less.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

ALPHA = 3.0
"""How fast the weight falls with the relative loss of accuracy."""

MOST_LOST = 5.0
"""Percentage points below the slowest point from which on a point is left out."""

ROUNDING = 1e-9
"""Percentage points that are no loss: accuracies are quotients, and 100 x .824 is not 82.4."""

UNITS = "percent x tokens per forward"


class Point(NamedTuple):
    """One setting of a method: tokens per forward pass, and accuracy in percent."""

    tokens_per_forward: float
    accuracy: float


class Aup(NamedTuple):
    """The area in percent x tokens per forward, the points it goes through, and those that lost too
    much accuracy."""

    value: float
    used: list[Point]
    dropped: list[Point]


def accuracy_under_parallelism(points: Sequence[Point], *, best: float) -> Aup:
    """AUP of one method's `points`; `best` is the largest accuracy, in percent, of all methods that
    are compared.

    With points in order of rho: rho_1 y_1 + sum over i > 1 of (rho_i - rho_(i-1)) (y_i W(y_i) +
    y_(i-1) W(y_(i-1))) / 2, W(y) = min(1, exp(-3 (1 - y / best))). Points with y < y_1 - 5 are left
    out. Raises ValueError without points, and where `best` or a rho is not positive.
    """
    if not points:
        raise ValueError("no points: AUP needs one at least")
    if best <= 0:
        raise ValueError(f"best is {best}; AUP weighs by accuracy / best, which must be positive")
    if min(point.tokens_per_forward for point in points) <= 0:
        raise ValueError("tokens per forward must be positive")

    ordered = sorted(points, key=lambda point: point.tokens_per_forward)
    lowest = ordered[0].accuracy - MOST_LOST - ROUNDING
    used = [point for point in ordered if point.accuracy >= lowest]
    dropped = [point for point in ordered if point.accuracy < lowest]

    rho = np.array([point.tokens_per_forward for point in used])
    y = np.array([point.accuracy for point in used])
    weighted = y * np.minimum(1.0, np.exp(-ALPHA * (1 - y / best)))
    first = rho[0] * y[0]
    area = np.diff(rho) * (weighted[1:] + weighted[:-1]) / 2
    return Aup(float(first + area.sum()), used, dropped)
