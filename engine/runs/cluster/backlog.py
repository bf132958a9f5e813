"""The batches of a run that wait for a worker, and what becomes of one that failed.

It is tried again as a suspect: on a worker that holds nothing else, until it is stored. A batch
that fails twice is split, until a problem that fails twice alone is given up with its error.
"""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Collection

from ...prompts.prompt import Prompt
from ...store.counts import count_text
from .batches import Batch, Fits, everything_fits
from .worker import Report

logger = logging.getLogger(__name__)

FAILURES_BEFORE_SPLIT = 2


class Backlog:
    """Batches that wait, in order. `given_up` maps problems that are not tried again to the
    reasons."""

    def __init__(self, batches: deque[Batch], *, fits: Fits = everything_fits) -> None:
        """`fits`: how much of a batch a worker has room for."""
        self._waiting = batches
        self._fits = fits
        self._most = max((len(batch.prompts) for batch in batches), default=1)
        self.given_up: dict[str, str] = {}

    def __len__(self) -> int:
        return len(self._waiting)

    @property
    def next(self) -> Batch:
        """The batch whose turn it is; there must be one."""
        return self._waiting[0]

    def take(self, room: Report) -> Batch:
        """As much of the next batch as the worker has room for; the rest goes with the batch behind
        it."""
        batch = self._waiting.popleft()
        n = max(1, min(self._most, self._fits(room, batch.prompts)))
        if n >= len(batch.prompts):
            return batch
        rest = batch.part(batch.prompts[n:])
        if not batch.suspect and self._waiting and not self._waiting[0].suspect:
            rest.prompts += self._waiting.popleft().prompts
        self._waiting.appendleft(rest)
        return batch.part(batch.prompts[:n])

    def put_back(self, batch: Batch, stored: Collection[str], reason: str, *, alone: bool) -> None:
        """A batch failed, but for what is `stored`: try the rest again, or give it up.

        `alone`: it was one problem, and the worker held nothing else.
        """
        prompts = [prompt for prompt in batch.prompts if prompt.problem.id not in stored]
        failures = batch.failures + 1
        if not prompts:
            return
        if len(prompts) == 1 and alone and failures >= FAILURES_BEFORE_SPLIT:
            self._give_up(prompts[0], failures, reason)
            return

        parts = [prompts]
        if len(prompts) > 1 and failures >= FAILURES_BEFORE_SPLIT:
            half = len(prompts) // 2
            parts = [prompts[:half], prompts[half:]]
            failures = FAILURES_BEFORE_SPLIT - 1
            logger.warning(
                "a batch of %s failed twice and is split: %s",
                count_text(len(prompts), "problem"),
                reason,
            )
        for part in parts:
            # A lone problem is given up only for what it does alone.
            counted = failures if len(part) > 1 or alone else 0
            self._waiting.append(Batch(part, counted, suspect=True))

    def _give_up(self, prompt: Prompt, failures: int, reason: str) -> None:
        problem_id = prompt.problem.id
        self.given_up[problem_id] = f"given up after {failures} failures alone; the last: {reason}"
        logger.error("problem %s: %s", problem_id, self.given_up[problem_id])
