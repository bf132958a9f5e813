"""The step before: where each row's logits of it lie, how they are read, and how this step's take
their place.

Shapes: M places, N rows, V vocabulary.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from .distribution import widen


class Previous(NamedTuple):
    """The step before: logits [M, V], what was computed of each, and at which of its rows each row
    has its own."""

    logits: Tensor  # [M, V]
    lse: Tensor  # [M] nats; NaN where a row has no step before
    place: Tensor  # [N] int64

    def read(self, block: slice) -> tuple[Tensor, Tensor]:
        """Logits [n, V] (float32, float64 if they are) and their logsumexp [n] of a block of the N
        rows.

        The logits may be a view: read them before `leave` is called.
        """
        place = self.place[block]
        run = _as_slice(place)
        logits = self.logits.index_select(0, place) if run is None else self.logits[run]
        return widen(logits), self.lse[place]

    def leave(self, block: slice, logits: Tensor) -> None:
        """Let this step's logits [n, V] of a block of the N rows take the place of the step
        before's."""
        place = self.place[block]
        run = _as_slice(place)
        if run is None:
            self.logits.index_copy_(0, place, logits)
        else:
            self.logits[run] = logits


def _as_slice(place: Tensor) -> slice | None:
    """Places that follow one another, as a canvas's mostly do: a view of them costs no copy. Asked
    on the CPU alone."""
    if place.device.type != "cpu" or len(place) == 0:
        return None
    if len(place) > 1 and not bool((place.diff() == 1).all()):
        return None
    start = int(place[0])
    return slice(start, start + len(place))


def read_previous(previous: Tensor | Previous, block: slice) -> tuple[Tensor, Tensor]:
    """`Previous.read`, also of logits [N, V] of which nothing is known yet."""
    if isinstance(previous, Previous):
        return previous.read(block)
    y = widen(previous[block])
    return y, torch.logsumexp(y, -1)
