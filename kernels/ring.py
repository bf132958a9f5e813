"""The logits of each row's step before, kept so that KL between steps never projects a hidden state
twice.

A row on the canvas has one place here from entering to leaving, so it does not matter where among
its neighbours it is read. The pass that reads a place leaves the new logits there: places * V is
all the memory, and nothing is copied apart. Shapes: M places, N rows, V vocabulary.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from .previous import Previous
from .reference import LogitStats

LIMIT_BYTES = 8 << 30
"""A larger ring is not made; the head then projects the previous hidden states again."""


class LogitRing:
    """M places for rows of logits. A place counts as the step before only if it was written one
    tick ago."""

    def __init__(
        self, places: int, vocabulary: int, *, dtype: torch.dtype, device: torch.device
    ) -> None:
        self.logits = torch.zeros(places, vocabulary, dtype=dtype, device=device)
        self._lse = torch.full((places,), math.nan, device=device)
        self._written = torch.full((places,), -1, dtype=torch.int64, device=device)
        # On the device, as everything a step depends on: a number of the host would be frozen into
        # a captured graph.
        self._tick = torch.zeros((), dtype=torch.int64, device=device)

    @classmethod
    def if_it_fits(
        cls, places: int, weight: Tensor, *, dtype: torch.dtype | None = None
    ) -> LogitRing | None:
        """A ring for the head `weight` [V, D], or None where it would be larger than
        LIMIT_BYTES."""
        dtype = dtype or weight.dtype
        vocabulary = weight.shape[0]
        size = places * vocabulary * dtype.itemsize
        if size > LIMIT_BYTES:
            return None
        return cls(places, vocabulary, dtype=dtype, device=weight.device)

    def advance(self) -> None:
        """A new step begins; every row in flight takes part in every step."""
        self._tick += 1

    def before(self, place: Tensor, first: Tensor) -> Previous:
        """The step before of rows at `place` [N]; those that are at their `first` step [N] have
        none."""
        written = self._written[place] == self._tick - 1
        has_previous = written & ~first
        lse = self._lse[place]
        self._lse[place] = torch.where(has_previous, lse, math.nan)
        return Previous(self.logits, self._lse, place)

    def wrote(self, place: Tensor, stats: LogitStats) -> None:
        """The rows at `place` now hold the logits that `stats` are of."""
        self._lse[place] = stats.lse.float()
        self._written[place] = self._tick
