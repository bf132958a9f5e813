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

ALWAYS = ("token", "performed", "prompt_length", "n_forwards", "answer_start", "answer_end")
WHERE_THERE = ("start_token", "logprob", "committed")


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

    def start(
        self, step: int, *, looks_back: int, token: np.ndarray | None = None, refits: bool = False
    ) -> Start:
        """A row that begins at `step`, after walking the last `looks_back` steps with a pass again.

        `token` [G]: the canvas after an intervention, if there was one. `refits`: the schedule need
        not fit, though the canvas is the parent's.
        """
        parents = self.canvas[step]
        changed = token is not None and not np.array_equal(token, parents)
        begin = parents if token is None else token
        more = int((begin == self.mask_id).sum()) - int((parents == self.mask_id).sum())
        return Start(
            step=step,
            token=begin,
            before=self.canvas[self._back(step, looks_back) : step],
            owed=max(0, more),
            is_changed=changed or refits,
        )

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
    first = columns.pop("start_token", np.full(token.shape[1], mask_id, token.dtype))
    canvas = np.concatenate([first[None], token])
    return Decoding(problem, row, canvas, performed, columns, mask_id)


def check_parent(run: Run) -> None:
    """Raise ConfigError where a run has no states to go on from."""
    if "branches" in run.info:
        raise ConfigError(
            f"{run.path}: is a branch run itself; branch from the run above it, "
            f"{run.path.parent.parent}"
        )
    if not len(run):
        raise ConfigError(f"{run.path}: holds no finished problem yet; nothing to branch from")
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
