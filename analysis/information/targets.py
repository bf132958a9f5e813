"""The two Y of a run: whether the answer came out right, and the size of the gold answer; and which
problems are of one question.

Rows without a gold answer, or whose answer could not be extracted, have no Y. Rows that are samples
of one problem are taken apart into layers (layers.py).
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from ...engine.store.format.verdicts import CORRECT, WRONG
from ..groups import Groups
from ..limits import too_few_in_class, too_few_problems
from .layers import layers_of

if TYPE_CHECKING:
    from ...engine.store import Run

MIN_DISTINCT = 10
"""Fewer different gold values than this are classes, not sizes."""

NUMBER = re.compile(r"[-+]?\d+(\.\d+)?")
DECORATION = re.compile(r"[,$%\s]")


class Target(NamedTuple):
    """One Y: the rows that have it [n], its values [n], whether they are labels, why there is none,
    or "", and `layers` [layer, problem] of the n."""

    rows: np.ndarray
    values: np.ndarray
    labels: bool
    missing: str
    layers: np.ndarray

    @property
    def first_rows(self) -> np.ndarray:
        """[problem] the row of the run that stands for each problem where only one can."""
        return np.asarray(self.rows[self.layers[0]])


def targets_of(run: Run) -> dict[str, Target]:
    """Y by the names of `Curve.target`."""
    return {"correct": _correct(run), "size": _size(run)}


def groups_of(run: Run) -> np.ndarray:
    """[row] number of its question: problems of one question share it."""
    question_of = {}
    for problem in run.problems:
        question_of[problem.id] = getattr(problem, "question", None) or problem.id
    questions = [question_of.get(name, name) for name in run.ids]
    _, numbers = np.unique(questions, return_inverse=True)
    return numbers.reshape(-1)


def shortage(n: int, codes: np.ndarray | None = None, *, rest: str = "") -> str:
    """Why no estimate should be made of `n` problems, or "".

    `codes`: their labels, whose rarest must not be too rare. `rest` says where other problems went.
    """
    missing = too_few_problems(n, rest=rest)
    if missing or codes is None:
        return missing
    members = np.bincount(codes)
    members = members[members > 0]
    if len(members) < 2:
        return "all problems have the same outcome"
    return too_few_in_class(int(members.min()), what="problem(s) in the smallest class")


def without(n: int, of: int, what: str) -> str:
    """Where the problems went that are not among `n`: "7 of 90 are without a gold answer"."""
    return f"{of - n} of {of} are without {what}" if of > n else ""


def _correct(run: Run) -> Target:
    verdict = np.zeros(0, np.uint8)
    if len(run.ids):
        verdict = np.asarray(run["verdict"][...])
    is_graded = (verdict == CORRECT) | (verdict == WRONG)
    graded = np.flatnonzero(is_graded)
    is_correct = verdict[graded] == CORRECT
    correct = is_correct.astype(np.int64)
    groups = Groups.of(run.groups)
    layers = layers_of(groups.number[graded])
    n = layers.shape[1]
    rest = without(n, groups.count(), "an extracted or a gold answer")
    missing = shortage(n, correct[layers[0]], rest=rest)
    return Target(graded, correct, True, missing, layers)


def _size(run: Run) -> Target:
    gold = {problem.id: problem.answer for problem in run.problems}
    size = np.array([log_size(gold.get(name)) for name in run.ids])
    sized = np.flatnonzero(np.isfinite(size))
    values = size[sized]
    groups = Groups.of(run.groups)
    layers = layers_of(groups.number[sized])
    n = layers.shape[1]
    rest = without(n, groups.count(), "a gold answer that is a number")
    missing = shortage(n, rest=rest)
    distinct = len(np.unique(values))
    if not missing and distinct < MIN_DISTINCT:
        missing = f"gold answers have fewer than {MIN_DISTINCT} different sizes"
    return Target(sized, values, False, missing, layers)


def log_size(answer: str | None) -> float:
    """sign(v) log(1 + |v|) of a gold answer that is a number, else NaN."""
    text = DECORATION.sub("", answer or "")
    if not NUMBER.fullmatch(text):
        return float("nan")
    value = float(text)
    return float(np.sign(value) * np.log1p(abs(value)))
