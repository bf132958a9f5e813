"""How far a run is, how fast it goes, and when it will be done.

A canvas finishes problems in waves: for minutes none, then all rows of one step. A rate by what has
finished alone is too low by as many times as there are rows on the canvas, right when the first
one has finished; so what is begun counts by its share.
"""

from __future__ import annotations

from typing import NamedTuple

from ..store.counts import unit_of


class Progress(NamedTuple):
    """How far a run is, in decodings, each a `unit`: a problem, a sample, or a branch. `total`
    counts those that this command asked for, `problems` how many problems of the input they are of
    (0 where nobody says).

    `begun` is what has been done of decodings that have not finished, in decodings: three rows at
    half of their steps are 1.5.
    """

    done: int
    resumed: int
    failed: int
    total: int
    correct: int
    seconds: float
    begun: float = 0.0
    problems: int = 0
    are_branches: bool = False

    @property
    def unit(self) -> str:
        """What one decoding is."""
        return unit_of(self.total, self.problems, are_branches=self.are_branches)

    @property
    def missing(self) -> int:
        """Decodings that have neither finished nor failed."""
        return self.total - self.done - self.resumed - self.failed

    @property
    def decodings_per_second(self) -> float | None:
        """What this command decodes in a second; None while there is nothing to tell it from."""
        decoded = self.done + self.begun
        if decoded <= 0 or self.seconds <= 0:
            return None
        return decoded / self.seconds

    @property
    def eta_seconds(self) -> float | None:
        """For how long it will go on at this rate; None while that is not known."""
        rate = self.decodings_per_second
        if rate is None:
            return None
        return max(0.0, self.missing - self.begun) / rate
