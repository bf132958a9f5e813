"""Where a row begins that does not begin with a canvas of masks: a state of an earlier run, as it
was or changed. Shapes: G generated positions, N steps walked again."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from .steering import UNCONSTRAINED, Constraints, Patch


@dataclass(frozen=True, eq=False)
class Start:
    """A row that begins at `step`, whose canvas is `token` [G], ids of tokens and of masks.

    `before` [N, G] are the canvases that the N steps before saw. Those that the parent `walked` [N]
    with a pass are walked again, and what the policy says there does not count: KL to the step
    before, and policies that remember more than the canvas, need them. `is_changed`: the schedule
    may not fit, since an intervention was made, or since it is drawn and the noise is another.
    `constraints` hold from `step` on; `patches` are put in at `step` alone.
    """

    step: int
    token: np.ndarray
    before: np.ndarray
    walked: np.ndarray
    is_changed: bool = False
    constraints: Constraints = UNCONSTRAINED
    patches: tuple[Patch, ...] = ()

    @property
    def first(self) -> int:
        """The first step that is walked, of those before or `step` itself."""
        return self.step - len(self.before)

    def canvas(self, step: int) -> np.ndarray:
        """The canvas [G] that a step of the way here sees; from `step` on, the one that is decoded
        from."""
        if step >= self.step:
            return self.token
        canvas: np.ndarray = self.before[step - self.first]
        return canvas

    def performed(self, schedule: Sequence[bool]) -> list[bool]:
        """Which steps have a pass, where the policy's `schedule` [S] says so of a row that begins
        with masks: the parent's before `step`; all from there on where the schedule need not fit,
        for it leaves out what commits nothing of an unchanged canvas."""
        after = list(schedule[self.step :])
        if self.is_changed:
            after = [True] * len(after)
        earlier = [False] * self.first + [bool(walks) for walks in self.walked]
        return earlier + after
