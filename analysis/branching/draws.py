"""The answers at the end of branches, as classes: what each state of each problem came to in R
draws.

Rows are the decodings of the parent run. Shapes: N decodings, K steps, R draws.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from ...engine.answers.classes import answer_classes
from ...engine.store.format.verdicts import CORRECT, NO_GOLD_ANSWER
from ..metrics.block import end_step
from .branch_runs import NOTHING, SameLaw
from .entropy import count_classes

if TYPE_CHECKING:
    from ...engine.store import Run

ABSENT = -1
"""Label of a draw that is not there."""


@dataclass(frozen=True, eq=False)
class Draws:
    """`steps` [K]: the states, ascending, each the canvas after so many steps; the last of them is
    the end, at which the answer is the parent's own. `label` [N, K, R]: class of the answer,
    ABSENT where it was not drawn; a class has the same label at all steps of a decoding.
    `final` [N]: class of the parent's own answer. `gold` [N]: class of the correct answer, ABSENT
    where no draw was correct. `correct` [N, K, R]: 1 or 0, NaN where it was not drawn or there is
    no gold answer. `unextracted` [N]: class of the texts without an answer, ABSENT where there is
    none. `is_certain` [N, K]: the parent had ended, so that nothing was drawn. `is_planned` [N, K]:
    branches of the state were asked for, whether they are decoded by now or not. `is_asked` [N]:
    whether the decoding was branched at all. `groups` [N]: the problem that a decoding is a sample
    of. `uncompared`: pairs of answers compared as text for want of a better verdict. `answers` [N]:
    a text of each class of a decoding, "" for texts without an answer.
    """

    steps: np.ndarray
    label: np.ndarray
    final: np.ndarray
    gold: np.ndarray
    correct: np.ndarray
    unextracted: np.ndarray
    is_certain: np.ndarray
    is_planned: np.ndarray
    is_asked: np.ndarray
    groups: np.ndarray
    uncompared: int = 0
    answers: Sequence[Sequence[str]] = ()

    @property
    def samples(self) -> int:
        """R, the draws of a state."""
        return int(self.label.shape[2])

    @cached_property
    def is_complete(self) -> np.ndarray:
        """[N, K] bool: all R draws of the state are there."""
        return np.asarray((self.label != ABSENT).all(axis=2))

    @cached_property
    def counts(self) -> np.ndarray:
        """[N, K, class] how often each class was drawn."""
        known = (self.label, self.final, self.gold)
        classes = max(int(labels.max(initial=0)) for labels in known) + 1
        return count_classes(self.label, classes)

    @property
    def missing(self) -> int:
        """Branches that lack to R of each state of which any were asked for."""
        return int((self.label[self.is_planned] == ABSENT).sum())


class _Drawn(NamedTuple):
    """One branch: whose, from which state, which of the draws, and what came of it."""

    row: int
    place: int
    branch: int
    answer: str
    is_correct: bool


class _Parent(NamedTuple):
    """What is read of the parent run; leading axis its decodings. `steps`: its length in steps."""

    answer: np.ndarray
    verdict: np.ndarray
    end: np.ndarray
    groups: np.ndarray
    steps: int


def read_draws(parent: Run, branches: SameLaw) -> Draws:
    """The answers of all branches of one law in which nothing was changed.

    Where two branch runs hold draws of one state, those of the run with more of them count: draws
    are never pooled, for they may share their noise. Raises NotStored where the parent keeps no
    trajectory; DamagedRun.
    """
    own = _read_parent(parent)
    steps = np.array([*(step for step in branches.at if step < own.steps), own.steps])
    is_certain = steps[None, :] > own.end[:, None]
    is_certain[:, -1] = True
    planned = _planned(parent, branches, steps)
    is_asked = _is_asked(planned, is_certain)

    drawn: list[list[_Drawn]] = [[] for _ in parent.ids]
    for each in _drawn(parent, branches, steps):
        drawn[each.row].append(each)
    table = _Table(own, shape=(len(parent.ids), len(steps), branches.samples))
    for row, of_row in enumerate(drawn):
        known = is_certain[row] & is_asked[row] & ~planned[row]
        table.fill(row, of_row, known)
    return Draws(
        steps=steps,
        label=table.label,
        final=table.final,
        gold=table.gold,
        correct=table.correct,
        unextracted=table.unextracted,
        is_certain=is_certain & ~planned,
        is_planned=planned,
        is_asked=is_asked,
        groups=own.groups,
        uncompared=table.uncompared,
        answers=table.answers,
    )


class _Table:
    """The arrays of `Draws`, decoding by decoding."""

    def __init__(self, own: _Parent, *, shape: tuple[int, int, int]) -> None:
        self.label = np.full(shape, ABSENT, np.int32)
        self.correct = np.full(shape, np.nan)
        self.final = np.zeros(shape[0], np.int32)
        self.gold = np.full(shape[0], ABSENT, np.int32)
        self.unextracted = np.full(shape[0], ABSENT, np.int32)
        self.uncompared = 0
        self.answers: list[Sequence[str]] = [()] * shape[0]
        self._own = own

    def fill(self, row: int, drawn: Sequence[_Drawn], known: np.ndarray) -> None:
        """Put in one decoding: its branches, and its own answer at the steps `known` [K]."""
        own = self._own
        right = [bool(own.verdict[row] == CORRECT), *(each.is_correct for each in drawn)]
        answers = [str(own.answer[row]), *(each.answer for each in drawn)]
        classes = answer_classes(answers, right)
        labels = classes.label
        self.uncompared += classes.uncompared
        self.unextracted[row] = classes.unextracted
        self.answers[row] = _first_of_each(answers, labels)
        self.final[row] = labels[0]
        if any(right):
            self.gold[row] = labels[right.index(True)]

        has_gold = own.verdict[row] != NO_GOLD_ANSWER
        for each, label in zip(drawn, labels[1:], strict=True):
            self.label[row, each.place, each.branch] = label
            if has_gold:
                self.correct[row, each.place, each.branch] = each.is_correct
        self.label[row, known] = labels[0]
        if has_gold:
            self.correct[row, known] = right[0]


def _first_of_each(answers: Sequence[str], labels: np.ndarray) -> list[str]:
    """[class] the first of `answers` in each; classes are numbered as they first appear."""
    _, first = np.unique(labels, return_index=True)
    return [answers[place] for place in first.tolist()]


def _read_parent(parent: Run) -> _Parent:
    groups = np.asarray(parent.ids, object)
    if "group_id" in parent:
        groups = np.asarray(parent["group_id"][...], object)
    performed = np.asarray(parent["performed"][...], bool)
    return _Parent(
        answer=np.asarray(parent["extracted_answer"][...], object),
        verdict=np.asarray(parent["verdict"][...]),
        end=end_step(performed),
        groups=groups,
        steps=int(performed.shape[1]),
    )


def _planned(parent: Run, branches: SameLaw, steps: np.ndarray) -> np.ndarray:
    """[N, K] bool: a branch of this state is in the plan of a branch run, decoded or not."""
    row_of = {name: row for row, name in enumerate(parent.ids)}
    place_of = {int(step): place for place, step in enumerate(steps)}
    planned = np.zeros((len(parent.ids), len(steps)), bool)
    for run in branches.runs:
        for problem in run.problems:
            origin = problem.origin
            if origin is None or origin.intervention != NOTHING:
                continue
            row = row_of.get(origin.parent)
            place = place_of.get(origin.step)
            if row is not None and place is not None:
                planned[row, place] = True
    return planned


def _is_asked(planned: np.ndarray, is_certain: np.ndarray) -> np.ndarray:
    """[N] bool: the decoding was branched. One whose states had all ended has no branch of its own;
    it counts where every decoding that could be branched was."""
    is_asked = planned.any(axis=1)
    could_be = ~is_certain.all(axis=1)
    if (is_asked | ~could_be).all():
        return np.ones_like(is_asked)
    return np.asarray(is_asked)


def _drawn(parent: Run, branches: SameLaw, steps: np.ndarray) -> Iterator[_Drawn]:
    """Every stored branch without an intervention; of one state those of one branch run alone."""
    row_of = {name: row for row, name in enumerate(parent.ids)}
    place_of = {int(step): place for place, step in enumerate(steps)}
    taken: dict[tuple[int, int], list[_Drawn]] = {}
    for run in branches.runs:
        of_run: dict[tuple[int, int], list[_Drawn]] = {}
        for each in _of_run(run, row_of, place_of, branches.samples):
            of_run.setdefault((each.row, each.place), []).append(each)
        for state, drawn in of_run.items():
            if len(drawn) > len(taken.get(state, ())):
                taken[state] = drawn
    for drawn in taken.values():
        yield from drawn


def _of_run(
    run: Run, row_of: dict[str, int], place_of: dict[int, int], samples: int
) -> Iterator[_Drawn]:
    names: Sequence[str] = ("parent_id", "branch_step", "intervention", "branch")
    if not run.ids:
        return
    parent_id, step, intervention, branch = (run[name][...] for name in names)
    answer = run["extracted_answer"][...]
    verdict = run["verdict"][...]
    for place in np.flatnonzero(np.asarray(intervention) == NOTHING):
        row = row_of.get(str(parent_id[place]))
        at = place_of.get(int(step[place]))
        if row is None or at is None or not 0 <= branch[place] < samples:
            continue
        is_correct = bool(verdict[place] == CORRECT)
        yield _Drawn(row, at, int(branch[place]), str(answer[place]), is_correct)
