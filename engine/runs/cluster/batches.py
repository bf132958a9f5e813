"""Batches of prompts, and how much of one a worker has room for by the memory and the budget that
it reported.

Knows lengths and shapes, not who decodes what.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from ...prompts.prompt import Prompt
from ..memory import Footprint, budget_that_fits
from .worker import Report


@dataclass
class Batch:
    """Prompts that one actor decodes together, and how often they have failed together.

    A `suspect` was on a worker that failed: it is decoded and stored before that worker gets
    anything else, so that the next failure is surely its own.
    """

    prompts: list[Prompt]
    failures: int = 0
    suspect: bool = False

    def part(self, prompts: list[Prompt]) -> Batch:
        """Some of it; one problem has not failed alone yet."""
        return Batch(prompts, self.failures if len(prompts) > 1 else 0, self.suspect)


Fits = Callable[[Report, Sequence[Prompt]], int]
"""How many of some prompts, in their order, the worker with this last report can decode together.
"""


def fits_by_memory(need: Footprint, *, budget: int) -> Fits:
    """The rule of a run whose canvases take `need`; `budget` packed tokens where a worker says
    nothing.

    Rows beyond a worker's room would wait for a place on its canvas while other workers may be
    idle.
    """

    def fits(report: Report, prompts: Sequence[Prompt]) -> int:
        rows = [len(prompt.token_ids) + need.gen_length for prompt in prompts]
        room = budget if report.budget is None else min(budget, report.budget)
        if report.free is not None:
            room = min(room, budget_that_fits(report.free, need, shortest=min(rows)))
        used = 0
        for n, row in enumerate(rows):
            used += row
            if used > room:
                return max(1, n)
        return len(rows)

    return fits


def everything_fits(report: Report, prompts: Sequence[Prompt]) -> int:
    """The rule of workers that take whatever they are given."""
    return len(prompts)
