"""Batches of prompts: how a run is cut into them, and how much of one a worker has room for.

A worker's room is what it reported of its memory and its token budget.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from ...prompts.prompt import Prompt
from ..device import in_drawing_order
from ..memory import Footprint, budget_that_fits
from .worker import Report


@dataclass
class Batch:
    """Prompts that one worker decodes together, and how often they have failed together.

    A `suspect` was on a worker that failed: it is decoded and stored before that worker gets
    anything else, so that the next failure is surely its own.
    """

    prompts: list[Prompt]
    failures: int = 0
    suspect: bool = False

    @property
    def is_one_problem(self) -> bool:
        """Whether whatever happens to it happens to one problem."""
        return len(self.prompts) == 1

    def part(self, prompts: list[Prompt]) -> Batch:
        """Some of it; one problem has not failed alone yet."""
        return Batch(prompts, self.failures if len(prompts) > 1 else 0, self.suspect)


Fits = Callable[[Report, Sequence[Prompt]], int]
"""How many of some prompts, in their order, the worker with this last report can decode together.
"""


def batches_of(
    prompts: Sequence[Prompt], *, gen_length: int, budget: int, workers: int, most: int
) -> deque[Batch]:
    """Batches in drawing order, each one canvas full, small enough that every worker gets some.

    A canvas holds `budget` packed tokens and `most` problems.
    """
    even_share = -(-len(prompts) // workers)
    most = max(1, min(most, even_share))
    batches: deque[Batch] = deque()
    used = 0
    for prompt in in_drawing_order(prompts):
        length = len(prompt.token_ids) + gen_length
        used += length
        if not batches or used > budget or len(batches[-1].prompts) >= most:
            batches.append(Batch([]))
            used = length
        batches[-1].prompts.append(prompt)
    return batches


def fits_by_memory(need: Footprint, *, budget: int) -> Fits:
    """The rule of a run whose canvases take `need`; `budget` packed tokens where a worker says
    nothing.

    Rows beyond a worker's room would wait for a place on its canvas while other workers may be
    idle.
    """

    def fits(report: Report, prompts: Sequence[Prompt]) -> int:
        lengths = [len(prompt.token_ids) + need.gen_length for prompt in prompts]
        room = budget
        if report.budget is not None:
            room = min(room, report.budget)
        if report.free is not None:
            room = min(room, budget_that_fits(report.free, need, shortest=min(lengths)))

        used = 0
        for number, length in enumerate(lengths):
            used += length
            if used > room:
                return max(1, number)
        return len(lengths)

    return fits


def everything_fits(report: Report, prompts: Sequence[Prompt]) -> int:
    """The rule of workers that take whatever they are given."""
    return len(prompts)
