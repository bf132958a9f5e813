"""A block of problems as the metrics see it: the recorded variables, and what follows from them and
from the commits.

Letters: N problems of the block, T steps, P generated positions, A gold answer tokens (padded).
"""

from __future__ import annotations

from collections.abc import Container, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import NamedTuple

import numpy as np

from ...engine.store.read.tokens import run_tokens
from .opened import ALSO, Opened, Revised, first_step, last_step, latest_known, opened_between

SLOT_STATUS = ("defined", "no_gold_answer", "no_answer_extracted", "does_not_fit")
"""Why the answer slot of a problem is undefined: meaning of the values of `Block.slot_status`."""

_DIGITS = frozenset("0123456789")


class Slot(NamedTuple):
    """Where the gold tokens are looked for.

    `used` [N, A] bool; `position` [N, A], 0 where not used; `behind` [N] the position after the
    gold tokens, P at the canvas's end.
    """

    used: np.ndarray
    position: np.ndarray
    behind: np.ndarray


@dataclass(frozen=True, eq=False)
class Block:
    """Recorded variables of N problems, and what the metrics share of them; each part is computed
    once, when it is first asked for.

    `performed` [N, T] bool: a forward pass ran. `commit_step` [N, P]: step that put the position's
    final token there, T where none did. `digits`: ids of the tokens whose text begins with a digit,
    where known. `opened`: of a run that is decoded block by block, which positions were open.
    `revised`: of a run that revises tokens, when each was.
    """

    variables: Mapping[str, np.ndarray]
    performed: np.ndarray
    commit_step: np.ndarray
    digits: np.ndarray = field(default_factory=lambda: np.zeros(0, np.int64))
    opened: Opened | None = None
    revised: Revised | None = None

    def variable(self, name: str) -> np.ndarray:
        """The recorded variable `name`, problems first."""
        return np.asarray(self.variables[name])

    def at_performed(self, values: np.ndarray) -> np.ndarray:
        """`values` [N, T] with NaN at the steps that were not performed."""
        return np.where(self.performed, values, np.nan)

    @property
    def n_steps(self) -> int:
        """T."""
        return int(self.performed.shape[1])

    @property
    def n_positions(self) -> int:
        """P."""
        return int(self.commit_step.shape[1])

    @cached_property
    def masked(self) -> np.ndarray:
        """[N, T, P] bool: the forward pass of this step saw the position masked; the committing
        step still does. A position whose block is not open is not masked: it is not there."""
        steps = np.arange(self.n_steps)
        before_commit = steps[None, :, None] <= self.first_commit[:, None, :]
        return before_commit if self.opened is None else before_commit & self.opened.at

    @cached_property
    def first_commit(self) -> np.ndarray:
        """[N, P] step that put a token in the mask's place, T where none did; `commit_step` unless
        it was revised."""
        return self.commit_step if self.revised is None else self.revised.first_commit

    @cached_property
    def freeze_step(self) -> np.ndarray:
        """[N, P] the last step whose values count at a position: its commit, else the last pass
        that had it open; T where neither was."""
        return self.commit_step if self.opened is None else self.opened.freeze(self.commit_step)

    def held_back(self, positions: np.ndarray) -> np.ndarray:
        """[N, T] bool: some of the `positions` [N, P] are of a block that is opened later, so that
        nothing is known of them yet."""
        if self.opened is None:
            return np.zeros(self.performed.shape, bool)
        return self.opened.held_back(positions)

    def mean_read(self, values: np.ndarray, chosen: np.ndarray | None = None) -> np.ndarray:
        """[N, T] mean of `values` [N, T, P] over the positions of a step, or the `chosen` ones;
        of a run that is decoded block by block over those of them that the pass read."""
        if chosen is None:
            chosen = np.ones(values.shape, bool)
        if self.opened is not None:
            chosen = chosen & self.opened.at & ~np.isnan(values)
        return mean_where(values, chosen)

    @cached_property
    def end_step(self) -> np.ndarray:
        """[N] the last step with a forward pass, -1 where there is none: the problem's end."""
        return end_step(self.performed)

    @cached_property
    def never_committed(self) -> np.ndarray:
        """[N, P] bool: the position was still masked when the problem ended, or its block never
        opened."""
        return np.asarray(self.commit_step >= self.n_steps)

    @cached_property
    def left_masked(self) -> np.ndarray:
        """[N, P] bool: a pass saw the position, and it was still masked when the problem ended."""
        never = self.never_committed
        return never if self.opened is None else never & self.opened.ever

    @cached_property
    def previous_performed(self) -> np.ndarray:
        """[N, T] the latest performed step before each step, -1 where there is none."""
        return previous_performed(self.performed)

    @cached_property
    def guess(self) -> np.ndarray:
        """[N, T, P] the token at each position if decoding stopped here: committed, else the most
        probable one of the latest forward pass; -1 where there was none yet."""
        steps = np.arange(self.n_steps)
        done = steps[None, :, None] >= self.first_commit[:, None, :]
        return np.where(done, self.variable("token"), self.latest_prediction)

    @cached_property
    def latest_prediction(self) -> np.ndarray:
        """[N, T, P] `prediction` of the latest performed step; a step without a forward pass says
        nothing new, nor does one that has the position's block no longer open."""
        prediction = self.variable("prediction")
        if self.opened is not None:
            return latest_known(prediction)
        if self.performed.all():
            return prediction
        latest = latest_performed(self.performed)
        source = np.maximum(latest, 0)[:, :, None]
        of_latest = np.take_along_axis(prediction, source, axis=1)
        return np.where(latest[:, :, None] >= 0, of_latest, -1)

    @cached_property
    def extracted(self) -> np.ndarray:
        """[N, P] bool: the positions of the extracted answer."""
        positions = np.arange(self.n_positions)
        start = self.variable("answer_start")[:, None]
        end = self.variable("answer_end")[:, None]
        is_inside = (positions >= start) & (positions < end)
        return is_inside & (start >= 0)

    @cached_property
    def has_answer(self) -> np.ndarray:
        """[N] bool: an answer was extracted."""
        return np.asarray(self.extracted.any(axis=1))

    @cached_property
    def gold_length(self) -> np.ndarray:
        """[N] number of gold answer tokens."""
        is_token = self.variable("answer_token_id") >= 0
        return np.asarray(is_token.sum(axis=1))

    @cached_property
    def slot_status(self) -> np.ndarray:
        """[N] uint8 index into `SLOT_STATUS`."""
        start = self.variable("answer_start")
        has_no_gold = self.gold_length == 0
        has_no_answer = start < 0
        behind = start + self.gold_length
        does_not_fit = behind > self.n_positions
        if self.opened is not None:
            does_not_fit |= behind > self.opened.end
        cases = [has_no_gold, has_no_answer, does_not_fit]
        status = np.select(cases, [1, 2, 3], 0)
        return status.astype(np.uint8)

    @cached_property
    def slot(self) -> Slot:
        """The positions of the gold tokens, from `answer_start` on."""
        is_token = self.variable("answer_token_id") >= 0
        start = self.variable("answer_start")
        is_defined = self.slot_status == 0
        used = is_token & is_defined[:, None]
        offset = np.arange(is_token.shape[1])
        position = start[:, None] + offset
        end = start + self.gold_length
        return Slot(
            used,
            position=np.where(used, position, 0),
            behind=np.where(is_defined, end, self.n_positions),
        )


def read_block(columns: Mapping[str, np.ndarray], digits: np.ndarray | None = None) -> Block:
    """A `Block` from the columns of `run.blocks`; needs `performed` and `committed`, and takes
    `ALSO` where they are there. `digits`: see `digit_ids`."""
    performed = np.asarray(columns["performed"]) == 1
    committed = np.asarray(columns["committed"]) == 1
    first_commit = first_step(committed)
    commit_step = first_commit
    revised = None
    if "revised" in columns:
        revisions = np.asarray(columns["revised"]) == 1
        revised = Revised(revisions, first_commit)
        commit_step = last_step(committed | revisions)
    opened = None
    if "open_start" in columns:
        opened = opened_between(columns["open_start"], columns["open_end"], committed.shape[2])
    ids = np.zeros(0, np.int64) if digits is None else digits
    return Block(columns, performed, commit_step, ids, opened, revised)


def also(run: Container[str]) -> list[str]:
    """Those of `ALSO` that `run` has."""
    return [name for name in ALSO if name in run]


def digit_ids(path: Path) -> np.ndarray:
    """Ids of the tokens of a run directory whose text begins with a digit; empty where it has no
    tokens.json."""
    ids = []
    for token, text in run_tokens(path).items():
        if text[:1] in _DIGITS:
            ids.append(int(token))
    return np.array(sorted(ids), np.int64)


def mean_where(values: np.ndarray, chosen: np.ndarray) -> np.ndarray:
    """Mean over the last axis of `values` [..., P] where `chosen`; NaN if none is, or if a chosen
    value is NaN."""
    total = np.where(chosen, values, 0.0).sum(axis=-1, dtype=np.float64)
    number = chosen.sum(axis=-1)
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.asarray(total / number)


def frozen(values: np.ndarray, freeze_step: np.ndarray) -> np.ndarray:
    """`values` [N, T, S] at S positions, each kept from its commit step on as it was at that step.

    The model is trained on masked positions only, so what it says about a committed one means
    nothing. `freeze_step` [N, S]: see `Block.freeze_step`; T where it is never committed.
    """
    steps = np.arange(values.shape[1])
    source = np.minimum(steps[None, :, None], freeze_step[:, None, :])
    return np.take_along_axis(values, source, axis=1)


def previous_performed(performed: np.ndarray) -> np.ndarray:
    """[N, T] the latest performed step before each step, -1 where there is none."""
    none = np.full((len(performed), 1), -1)
    with_none: np.ndarray = np.concatenate([none, latest_performed(performed)], axis=1)
    return with_none[:, :-1]


def latest_performed(performed: np.ndarray) -> np.ndarray:
    """[N, T] the latest performed step up to and with each step, -1 where there is none."""
    steps = np.arange(performed.shape[1])
    own_step = np.where(performed, steps, -1)
    return np.asarray(np.maximum.accumulate(own_step, axis=1))


def leave_out_own_steps(performed: np.ndarray) -> bool:
    """Whether problems leave out steps before their end that others make; `performed`
    [problem, step]."""
    ends = end_step(performed)
    before_end = np.arange(performed.shape[1]) <= ends[:, None]
    left_out = before_end & ~performed
    return bool((left_out.any(axis=0) & performed.any(axis=0)).any())


def end_step(performed: np.ndarray) -> np.ndarray:
    """[N] the last performed step of each problem, -1 where it has none."""
    steps = np.arange(performed.shape[1])
    return np.asarray(np.where(performed, steps, -1).max(axis=1, initial=-1))


def kept_after_end(values: np.ndarray, performed: np.ndarray) -> np.ndarray:
    """`values` [N, T] where a problem that has ended keeps the value of its last performed step.

    Steps in between that were not performed stay as they are.
    """
    end = end_step(performed)[:, None]
    steps = np.arange(performed.shape[1])
    source = np.where((steps > end) & (end >= 0), end, steps)
    return np.take_along_axis(values, source, axis=1)
