"""A fixed schedule for a canvas that it was not made for: one at which masks were added or filled.

Shapes: S steps, G generated positions.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np


class Reach(NamedTuple):
    """A policy's fixed schedule: `counts` [S] that each step commits, of the masked positions
    before `ends` [S]."""

    counts: Sequence[int]
    ends: Sequence[int]


def refitted(schedule: Reach, masked: np.ndarray, *, step: int) -> list[int]:
    """How many positions each step [S] commits of a canvas with these positions `masked` [G], which
    `step` sees first; 0 before it.

    What the schedule alone would leave masked at the end is shared out evenly over the steps that
    are left, the first ones taking the remainder; no step has more than the masks in its reach.
    With a reach that ends with the canvas, no mask is left.
    """
    steps = len(schedule.counts)
    beyond = _masks_beyond(masked)
    left = int(masked.sum())
    counts = [0] * steps
    surplus = _left_at_the_end(schedule, beyond, left, step)
    for now in range(step, steps):
        more = -(-surplus // (steps - now))
        in_reach = left - beyond[schedule.ends[now]]
        counts[now] = min(schedule.counts[now] + more, in_reach)
        left -= counts[now]
        if surplus:
            surplus = _left_at_the_end(schedule, beyond, left, now + 1)
    return counts


def _masks_beyond(masked: np.ndarray) -> list[int]:
    """How many masks stand at each position [G + 1] or behind it."""
    from_behind = np.cumsum(masked[::-1])[::-1]
    return [*from_behind.tolist(), 0]


def _left_at_the_end(schedule: Reach, beyond: list[int], left: int, step: int) -> int:
    """How many of `left` masks the schedule's own counts leave from `step` on."""
    for now in range(step, len(schedule.counts)):
        left -= min(schedule.counts[now], left - beyond[schedule.ends[now]])
    return left
