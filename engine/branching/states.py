"""The states of a run: the canvas that each step saw, and where a row begins that goes on from one.

Shapes: S steps, G generated positions.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from ..options import ConfigError
from ..problems.read import Problem
from ..prompts.start import Start
from ..store.read.run import Run
from .state import Changed

ALWAYS = (
    "token",
    "committed",
    "performed",
    "logprob",
    "prompt_length",
    "n_forwards",
    "answer_start",
    "answer_end",
)
WHERE_THERE = ("start_token",)


@dataclass(frozen=True, eq=False)
class Decoding:
    """One decoding of the parent run.

    `canvas` [S + 1, G]: what each step saw, and behind them the final one. `performed` [S].
    `columns`: its other variables by name, without those that the run did not store.
    """

    problem: Problem
    row: int
    canvas: np.ndarray
    performed: np.ndarray
    columns: dict[str, np.ndarray]
    mask_id: int

    @property
    def steps(self) -> int:
        return len(self.performed)

    @property
    def n_forwards(self) -> int:
        return int(self.columns["n_forwards"])

    def is_settled(self, step: int) -> bool:
        """Whether nothing was decoded from `step` on: what the canvas shows there is the answer."""
        return not self.performed[step:].any()

    def passes_from(self, step: int) -> int:
        """Forward passes that the parent made from `step` on, one a step."""
        return int(self.performed[step:].sum())

    def start(self, step: int, changed: Changed, *, looks_back: int, refits: bool) -> Start:
        """A row that begins at `step`, after walking the last `looks_back` steps with a pass again.

        `changed`: what an intervention made of the state. `refits`: the schedule need not fit,
        though the canvas is the parent's.
        """
        again = slice(self._back(step, looks_back), step)
        # Copies: a view would keep the canvas of every step as long as the branch waits.
        return Start(
            step,
            changed.token.copy(),
            self.canvas[again].copy(),
            self.performed[again].copy(),
            is_changed=refits or not np.array_equal(changed.token, self.canvas[step]),
            constraints=changed.constraints,
            patches=changed.patches,
        )

    def is_open(self, step: int, token: np.ndarray) -> bool:
        """Whether there is something to decode from `step` on, on the canvas `token` [G]."""
        if np.array_equal(token, self.canvas[step]):
            return not self.is_settled(step)
        return step < self.steps and self.masks(token) > 0

    def masks(self, token: np.ndarray) -> int:
        """How many masks a canvas [G] has."""
        return int((token == self.mask_id).sum())

    def _back(self, step: int, looks_back: int) -> int:
        walked = np.flatnonzero(self.performed[:step])
        if looks_back == 0 or not len(walked):
            return step
        return int(walked[max(0, len(walked) - looks_back)])


def decodings(run: Run, rows: Sequence[int], *, mask_id: int) -> Iterator[Decoding]:
    """The decodings of `run` at these rows, shard by shard, in bounded memory."""
    stored = {problem.id: problem for problem in run.problems}
    names = [*ALWAYS, *(name for name in WHERE_THERE if name in run)]
    chosen = set(rows)
    for block in run.blocks(names):
        for number, row in enumerate(np.asarray(block["row"]).tolist()):
            if row in chosen:
                columns = {name: np.asarray(block[name][number]) for name in names}
                yield _decoding(stored[run.ids[row]], row, columns, mask_id)


def _decoding(problem: Problem, row: int, columns: dict[str, np.ndarray], mask_id: int) -> Decoding:
    token = columns.pop("token")
    performed = columns.pop("performed") != 0
    canvas = canvases(token, columns.pop("start_token", None), mask_id=mask_id)
    return Decoding(problem, row, canvas, performed, columns, mask_id)


def canvases(token: np.ndarray, start: np.ndarray | None, *, mask_id: int) -> np.ndarray:
    """What each step saw, and behind them the final canvas [S + 1, G]; `token` [S, G] is what each
    step left. A run from before there was a `start` [G] began with masks."""
    if start is None:
        start = np.full(token.shape[1], mask_id, token.dtype)
    return np.concatenate([start[None], token])


def check_parent(run: Run) -> None:
    """Raise ConfigError where a run has no states to go on from."""
    if "branches" in run.info:
        raise ConfigError(
            f"{run.path}: is a branch run itself; branch from the run above it, "
            f"{run.path.parent.parent}"
        )
    if not len(run):
        raise ConfigError(f"{run.path}: holds no finished problem yet; nothing to branch from")
    if "open_start" in run:
        raise ConfigError(
            f"{run.path}: its model attends block by block, and a branch begins on a canvas that "
            "is whole; branch from a run of a model that attends fully"
        )
    if "token" not in run:
        raise ConfigError(
            f"{run.path}: keeps answers alone (record: answers), and its states are gone; decode "
            "it again with --record masked or all"
        )


def check_steps(at: Sequence[int], *, steps: int) -> None:
    """Raise ConfigError for a step that the run has not."""
    strange = [step for step in at if not 0 <= step <= steps]
    if strange:
        raise ConfigError(
            f"at names step {strange[0]}; the run has steps 0 to {steps - 1}, and {steps} is its "
            "final canvas"
        )
