"""Which rows of a run are samples of one problem: the unit of every uncertainty is the problem.

Samples of one problem are not independent. So n counts problems, errors are made of sums over
problems, and each problem counts once, however many of its samples are stored: a row weighs one
over that number. Where each problem has one sample all of this is what it was without samples.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Hashable, Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from ..engine.problems.read import Problem


@dataclass(frozen=True, eq=False)
class Groups:
    """`number` [row]: of the row's problem, from 0 in the order in which problems first appear;
    `weight` [row]: 1 / number of samples of it that the run holds."""

    number: np.ndarray
    weight: np.ndarray

    @classmethod
    def of(cls, names: Sequence[Hashable]) -> Groups:
        """The groups of rows whose problems have these `names` [row], as `Run.groups`."""
        places: dict[Hashable, int] = {}
        numbers = [places.setdefault(name, len(places)) for name in names]
        number = np.array(numbers, np.int64)
        members = np.bincount(number, minlength=len(places))
        return cls(number, 1.0 / members[number])

    @classmethod
    def single(cls, rows: int) -> Groups:
        """Each row a problem of its own."""
        return cls(np.arange(rows), np.ones(rows))

    def __len__(self) -> int:
        return len(self.number)

    def chosen(self, rows: np.ndarray) -> Groups:
        """Those of some rows: row numbers or a mask [row]. A row keeps its weight."""
        return Groups(self.number[rows], self.weight[rows])

    @cached_property
    def is_plain(self) -> bool:
        """Whether each row is a problem of its own, and weighs as much as any other."""
        if not len(self):
            return True
        same_weight = bool((self.weight == self.weight[0]).all())
        return same_weight and self.count() == len(self)

    @cached_property
    def _members(self) -> tuple[int, np.ndarray]:
        """How many problems there are, and [row] the number of each row's among them."""
        distinct, compact = np.unique(self.number, return_inverse=True)
        return len(distinct), compact.reshape(-1)

    def count(self, chosen: np.ndarray | None = None) -> int:
        """How many problems there are, or have a row among the `chosen` (a mask [row])."""
        number = self.number if chosen is None else self.number[chosen]
        return len(np.unique(number))

    def counts(self, chosen: np.ndarray) -> np.ndarray:
        """[...] how many problems have a row that is `chosen` [row, ...]."""
        if self.is_plain:
            return np.asarray(chosen.sum(axis=0))
        return np.asarray((self._sums(chosen.astype(np.float64)) > 0).sum(axis=0))

    def sums(self, values: np.ndarray) -> np.ndarray:
        """[problem, ...] weighted sums of `values` [row, ...] over the rows of each problem, in
        the order of their numbers."""
        weight = self.weight.reshape(-1, *[1] * (values.ndim - 1))
        return self._sums(values * weight)

    def rows_of(self, problems: np.ndarray) -> np.ndarray:
        """The rows of some problems, given by their places in the order of their numbers: problem
        after problem."""
        _, compact = self._members
        order = np.argsort(compact, kind="stable")
        ends = np.cumsum(np.bincount(compact))
        parts = [order[(ends[each - 1] if each else 0) : ends[each]] for each in problems]
        return np.concatenate(parts) if parts else np.zeros(0, np.int64)

    def first_rows(self) -> np.ndarray:
        """[problem] the first row of each problem, in the order of their numbers."""
        return np.unique(self.number, return_index=True)[1]

    def _sums(self, values: np.ndarray) -> np.ndarray:
        problems, compact = self._members
        total = np.zeros((problems, *values.shape[1:]))
        np.add.at(total, compact, values)
        return total


def samples_asked(problems: Iterable[Problem]) -> int:
    """How many samples a run of these `problems` was asked for, of the problem with most."""
    return max(Counter(problem.group_id for problem in problems).values(), default=1)
