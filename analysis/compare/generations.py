"""What a run finally generated, problem by problem: all that a comparison of decoders needs of it.

Reads the run itself, not an analysis, so that runs can be compared before they are analysed.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from ...engine.store.drawing import coverage
from ...engine.store.format.verdicts import CORRECT, NO_GOLD_ANSWER
from ..groups import Groups
from ..provenance import content_of

if TYPE_CHECKING:
    from ...engine.store import Run

NEVER = -1
"""Commit step of a position that stayed masked."""

BLOCK_PROBLEMS = 64
COLUMNS = ("verdict", "n_forwards", "generated_text", "extracted_answer")


class Generations(NamedTuple):
    """Rows in the run's order. `keys`: id and digest of the content of each problem. `token`
    [problem, position] is the final canvas, `commit_step` [problem, position] the step of its
    final token, NEVER where the position stayed masked; `n_forwards` [problem] counts two a step
    under guidance. `unfinished`: a sentence, empty where nothing lacks. `group_ids` [problem]: the
    id in the input, which samples share; empty where each problem has one sample.
    """

    name: str
    info: Mapping[str, Any]
    keys: list[tuple[str, str]]
    verdict: np.ndarray
    n_forwards: np.ndarray
    token: np.ndarray
    commit_step: np.ndarray
    text: list[str]
    answer: list[str]
    unfinished: str = ""
    group_ids: tuple[str, ...] = ()

    @property
    def groups(self) -> Groups:
        """Which rows are samples of one problem."""
        return Groups.of(self.group_ids) if self.group_ids else Groups.single(len(self.keys))

    @property
    def config(self) -> Mapping[str, Any]:
        """The settings of the run."""
        config: Mapping[str, Any] = self.info["config"]
        return config

    @property
    def policy(self) -> str:
        """Name of the policy; empty in runs that do not say."""
        return str(self.config.get("policy", ""))

    @property
    def correct(self) -> np.ndarray:
        """[problem] 1 or 0, NaN without a gold answer."""
        right = (self.verdict == CORRECT).astype(np.float64)
        return np.asarray(np.where(self.verdict == NO_GOLD_ANSWER, np.nan, right))

    @property
    def committed(self) -> np.ndarray:
        """[problem, position] bool: something was committed there."""
        return np.asarray(self.commit_step != NEVER)

    @property
    def most_at_once(self) -> int:
        """The largest number of positions that one step of any problem committed."""
        most = 0
        for steps in self.commit_step:
            counts = np.bincount(steps[steps != NEVER])
            most = max(most, int(counts.max(initial=0)))
        return most


def read_generations(run: Run, *, name: str = "") -> Generations:
    """Stream the run once. `name` is what it is called, its folder's name unless given.

    Raises NotStored where the run lacks a variable that every run keeps; DamagedRun.
    """
    problems = {problem.id: problem for problem in run.problems}
    keys = [(key, content_of(problems[key])) for key in run.ids]
    columns = _read_columns(run)
    return Generations(
        name=name or Path(run.path).name,
        info=run.info,
        keys=keys,
        verdict=columns["verdict"],
        n_forwards=columns["n_forwards"],
        token=columns["token"],
        commit_step=columns["commit_step"],
        text=columns["generated_text"].tolist(),
        answer=columns["extracted_answer"].tolist(),
        unfinished=coverage(run).note,
        group_ids=tuple(run.groups),
    )


def _read_columns(run: Run) -> dict[str, np.ndarray]:
    """The columns of `Generations`; what is [problem, step, position] on the disk is reduced block
    by block."""
    gen_length = int(run.info["config"]["gen_length"])
    n = len(run.ids)
    columns: dict[str, np.ndarray] = {
        "verdict": np.zeros(n, np.uint8),
        "n_forwards": np.zeros(n, np.int32),
        "generated_text": np.full(n, "", object),
        "extracted_answer": np.full(n, "", object),
        "token": np.zeros((n, gen_length), np.int32),
        "commit_step": np.full((n, gen_length), NEVER, np.int32),
    }
    if not n:
        return columns
    written = [name for name in ("committed", "revised") if name in run]
    for block in run.blocks([*COLUMNS, "token", *written], max_problems=BLOCK_PROBLEMS):
        rows = np.asarray(block["row"])
        for name in COLUMNS:
            columns[name][rows] = block[name]
        columns["token"][rows] = block["token"][:, -1]
        columns["commit_step"][rows] = commit_steps(*(block[name] for name in written))
    return columns


def commit_steps(*written: np.ndarray) -> np.ndarray:
    """[problem, position] the last step of any of `written` [problem, step, position] that is 1,
    which put the final token there; NEVER where there is none. A position is committed once, and
    may then be revised."""
    happens = np.any([each != 0 for each in written], axis=0)
    last = happens.shape[1] - 1 - np.flip(happens, axis=1).argmax(axis=1)
    return np.where(happens.any(axis=1), last, NEVER)
