"""One device of a run as its driver sees it: the actor on it, and the prompts that it holds."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from ...prompts.prompt import Prompt
from .batches import Batch
from .worker import Report

STARTS_IN_A_ROW = 3
"""Workers that may fail to start on a device, one after the other, before it is left out."""


class Held(NamedTuple):
    """What an actor had when it died: the batch in flight, and prompts decoded but not stored."""

    batch: Batch | None
    unstored: dict[str, Prompt]

    @property
    def problem_ids(self) -> list[str]:
        """All of them, in a fixed order."""
        in_flight = self.batch.prompts if self.batch is not None else []
        return [*self.unstored, *(prompt.problem.id for prompt in in_flight)]


@dataclass
class Seat:
    """A device: the actor on it, the batch in flight, and prompts decoded whose shard is not
    confirmed yet.

    `last` is the batch that it was given last, `room` the last report that told of its memory.
    """

    number: int
    starts: int = 0
    failed_starts: int = 0
    name: str = ""
    actor: Any = None
    ready: bool = False
    batch: Batch | None = None
    last: Batch | None = None
    room: Report = Report([], [])
    unconfirmed: dict[str, Prompt] = field(default_factory=dict)

    @property
    def can_start(self) -> bool:
        """Whether a worker may be started here."""
        return self.actor is None and self.failed_starts < STARTS_IN_A_ROW

    def choose_name(self, taken: Collection[str]) -> str:
        """Call the next worker here by a name that none before it had: w2, then w2r1, w2r2, ..."""
        while not self.name or self.name in taken:
            self.name = f"w{self.number}"
            if self.starts:
                self.name += f"r{self.starts}"
            self.starts += 1
        return self.name

    def must_store_before(self, batch: Batch) -> bool:
        """Whether what is not stored yet and `batch` must not be on the worker together."""
        last_is_suspect = self.last is not None and self.last.suspect
        return bool(self.unconfirmed) and (batch.suspect or last_is_suspect)

    def give(self, batch: Batch) -> None:
        """Note that `batch` is in flight."""
        self.batch = batch
        self.last = batch

    def take_answer(self, report: Report) -> Batch | None:
        """Note what the worker says of its room and of what it decoded; returns the batch that it
        answers for, None where it was asked for something else."""
        batch = self.batch
        self.batch = None
        if report.budget is not None:
            self.room = report
        if batch is not None:
            decoded = set(report.decoded)
            for prompt in batch.prompts:
                if prompt.problem.id in decoded:
                    self.unconfirmed[prompt.problem.id] = prompt
        return batch

    def started(self) -> None:
        """The worker is loaded and ready."""
        self.ready = True
        self.failed_starts = 0

    def could_not_start(self) -> None:
        """The worker did not come up; another may be tried."""
        self.failed_starts += 1
        self.actor = None

    def vacate(self) -> Held:
        """The actor is gone; returns what it held."""
        held = Held(self.batch, self.unconfirmed)
        self.actor = None
        self.ready = False
        self.batch = None
        self.unconfirmed = {}
        return held
