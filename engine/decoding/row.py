"""One problem on the canvas: where it is on its way through the steps."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, field

from ..prompts.prompt import Prompt
from .refit import Reach, refitted


@dataclass(eq=False)
class Row:
    """One problem on the canvas. `slot` is its place in the recorder, fixed from entering to
    leaving.

    `performed[s]` says whether its step s has a forward pass. `n_masked` generated positions are
    masked; None where only the device knows how many. `refitted` are the commits of each step where
    the canvas was changed, once somebody asked.
    """

    prompt: Prompt
    slot: int
    step: int
    performed: Sequence[bool]
    n_masked: int | None
    n_forwards: int = 0
    entered: float = field(default_factory=time.perf_counter)
    refitted: list[int] | None = None

    @property
    def prompt_length(self) -> int:
        return len(self.prompt.token_ids)

    @property
    def first_step(self) -> int:
        """The first step that is decoded here; those before are a parent run's."""
        return 0 if self.prompt.start is None else self.prompt.start.step

    @property
    def is_replaying(self) -> bool:
        """Whether the row walks steps of its parent run again, on its way to where it begins."""
        return self.step < self.first_step

    @property
    def is_changed(self) -> bool:
        """Whether the row has a canvas at which an intervention was made."""
        start = self.prompt.start
        return start is not None and start.is_changed and not self.is_replaying

    @property
    def begins(self) -> bool:
        """Whether the row's next forward pass is the first that counts, of a row that begins at a
        state."""
        start = self.prompt.start
        if start is None or self.is_replaying:
            return False
        return self.step == next_performed(self.performed, start.step)

    @property
    def parents_canvas(self) -> list[int]:
        """The canvas [G] that a row which is replaying, or begins now, sees at its step."""
        assert self.prompt.start is not None
        ids: list[int] = self.prompt.start.canvas(self.step).tolist()
        return ids

    def due(self, schedule: Reach, mask_id: int) -> int:
        """How many commits the row makes at its step under a policy's fixed schedule."""
        start = self.prompt.start
        if start is None or not self.is_changed:
            return schedule.counts[self.step]
        if self.refitted is None:
            self.refitted = refitted(schedule, start.token == mask_id, step=start.step)
        return self.refitted[self.step]


def next_performed(performed: Sequence[bool], step: int) -> int:
    """The first step from `step` on that has a forward pass; their number where none has."""
    while step < len(performed) and not performed[step]:
        step += 1
    return step
