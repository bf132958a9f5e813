"""What interventions do: each branch beside its control, which differs from it in nothing but what
was done.

The control of a branch with the parent's noise is the parent's own suffix. With fresh noise it is
the branch of the same number at the same state at which nothing was done: the two share their noise
(common random numbers), so that a token differs where the intervention made it differ. Shapes: M
branches after an intervention, N decodings, P problems, I interventions, K steps, G positions.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from ...engine.branching.interventions import parse_interventions
from ...engine.store.errors import DamagedRun
from .branch_runs import FRESH, NOTHING, request_of
from .ends import Ends, Parents, answer_labels, correctness, read_ends, read_parents
from .resampling import Resampled, mean_interval, problem_means

if TYPE_CHECKING:
    from ...engine.store import Run

NONE = -1
"""In the place of a control that is not stored."""

MEASURES = {
    "direct": ("tokens", "changed tokens at the positions of the intervention"),
    "collateral": ("tokens", "changed tokens elsewhere"),
    "total": ("tokens", "changed tokens"),
    "answer_changed": ("1", "share of branches with another answer"),
    "correctness": ("1", "share of correct answers less that of the controls"),
    "gold_logprob": ("nats", "log-probability of the gold answer right after, less the control's"),
}
"""What is measured of a branch, with unit and label; docs/analysis.md has the formulas."""


class Apart(NamedTuple):
    """How far two continuations of one state differ at which nothing was done, over all pairs of
    branches of a state: `tokens` and `answer` [state], of which decoding (`row`) and `step`."""

    row: np.ndarray
    step: np.ndarray
    tokens: np.ndarray
    answer: np.ndarray


@dataclass(frozen=True, eq=False)
class Effects:
    """Every branch [M] after an intervention against its control.

    `row`, `step`, `intervention`, `branch` [M] say which; `texts` [I] what was done, `groups` [N]
    the problem of each decoding. `changed` [M, G]: the final token is not the control's; `acted`
    [M, G]: the intervention acted there. `answer_changed` [M] 0 or 1; `correctness` [M] -1, 0 or 1,
    NaN without a gold answer; `gold_logprob` [M] in nats, NaN where it was not recorded. `span`
    [N, 2]: the parent's answer. `uncontrolled` branches lack their control and are left out.
    """

    texts: Sequence[str]
    groups: np.ndarray
    row: np.ndarray
    step: np.ndarray
    intervention: np.ndarray
    branch: np.ndarray
    changed: np.ndarray
    acted: np.ndarray
    answer_changed: np.ndarray
    correctness: np.ndarray
    gold_logprob: np.ndarray
    span: np.ndarray
    apart: Apart
    uncontrolled: int = 0

    @cached_property
    def direct(self) -> np.ndarray:
        """[M] changed tokens at the positions of the intervention."""
        return np.asarray((self.changed & self.acted).sum(axis=1), np.float64)

    @cached_property
    def collateral(self) -> np.ndarray:
        """[M] changed tokens elsewhere."""
        return np.asarray((self.changed & ~self.acted).sum(axis=1), np.float64)

    @cached_property
    def total(self) -> np.ndarray:
        """[M] changed tokens: `direct` + `collateral`."""
        return np.asarray(self.changed.sum(axis=1), np.float64)

    @cached_property
    def steps(self) -> np.ndarray:
        """[K] the steps at which something was done, ascending."""
        return np.unique(self.step)

    def by_decoding(self, values: np.ndarray) -> np.ndarray:
        """[N, I, K] the mean over the branches that have one of `values` [M]; NaN without any."""
        place = np.searchsorted(self.steps, self.step)
        shape = (len(self.groups), len(self.texts), len(self.steps))
        total = np.zeros(shape)
        n = np.zeros(shape)
        finite = np.isfinite(values)
        at = (self.row[finite], self.intervention[finite], place[finite])
        np.add.at(total, at, values[finite])
        np.add.at(n, at, 1.0)
        return np.where(n > 0, total / np.maximum(n, 1), np.nan)

    def by_problem(self, values: np.ndarray) -> np.ndarray:
        """[P, I, K] the same, samples of a problem averaged."""
        return problem_means(self.by_decoding(values), self.groups)

    def mean(self, measure: str, *, seed: int = 0) -> Resampled:
        """[I, K] the mean over problems of one of `MEASURES`, with its 95 % interval by resampled
        problems."""
        values = self.by_problem(getattr(self, measure))
        shape = values.shape[1:]
        found = mean_interval(values.reshape(len(values), -1), seed=seed)
        return Resampled(*(part.reshape(shape) for part in found))

    def apart_by_problem(self, values: np.ndarray) -> np.ndarray:
        """[P, K] means of what `apart` says of states."""
        dense = np.full((len(self.groups), len(self.steps)), np.nan)
        known = np.isin(self.apart.step, self.steps)
        place = np.searchsorted(self.steps, self.apart.step[known])
        dense[self.apart.row[known], place] = values[known]
        return problem_means(dense, self.groups)


def effects_of(parent: Run, branches: Run) -> Effects:
    """The effects of all interventions of a branch run. Raises DamagedRun where it does not fit its
    parent, NotStored where the parent keeps no canvases."""
    request = request_of(branches)
    parents = read_parents(parent, [int(step) for step in request["at"]])
    ends = read_ends(branches, parents.ids, parents.span)
    _check(ends, parents)
    texts = [str(text) for text in request["interventions"]]
    return compare(parents, ends, texts, is_fresh=request["noise"] == FRESH)


def compare(parents: Parents, ends: Ends, texts: Sequence[str], *, is_fresh: bool) -> Effects:
    """The same of what was read. `is_fresh`: the controls are branches, else the parents."""
    label, parents_label = answer_labels(parents, ends)
    control = _controls(parents, ends, is_fresh=is_fresh)
    done = ends.intervention != NOTHING
    kept = np.flatnonzero(done & (control != NONE))
    beside = control[kept]

    parents_gold = np.full(len(parents.ids), np.nan)
    gold = np.concatenate([ends.gold, parents_gold])[beside]
    of_parent = beside >= len(ends.row)
    for number in np.flatnonzero(of_parent):
        gold[number] = parents.gold[int(ends.step[kept[number]])][ends.row[kept[number]]]

    right = correctness(np.concatenate([ends.verdict, parents.verdict]))
    labels = np.concatenate([label, parents_label])
    finals = np.concatenate([ends.final, parents.final])
    return Effects(
        texts=texts,
        groups=parents.groups,
        row=ends.row[kept],
        step=ends.step[kept],
        intervention=ends.intervention[kept],
        branch=ends.branch[kept],
        changed=ends.final[kept] != finals[beside],
        acted=_acted(parents, ends, texts)[kept],
        answer_changed=(label[kept] != labels[beside]).astype(np.float64),
        correctness=right[kept] - right[beside],
        gold_logprob=ends.gold[kept] - gold,
        span=parents.span,
        apart=_apart(ends, label),
        uncontrolled=int((done & (control == NONE)).sum()),
    )


def _controls(parents: Parents, ends: Ends, *, is_fresh: bool) -> np.ndarray:
    """[M] the place of each branch's control among the branches, or, M further, among the parents;
    `NONE` where it is not stored."""
    of_parent = len(ends.row) + ends.row
    if not is_fresh:
        return of_parent
    keys = list(zip(ends.row.tolist(), ends.step.tolist(), ends.branch.tolist(), strict=True))
    place_of = {keys[m]: m for m in np.flatnonzero(ends.intervention == NOTHING)}
    own = np.array([place_of.get(key, NONE) for key in keys], np.int64)
    # From a state behind the parent's end nothing is decoded: the control is what stands there.
    has_ended = parents.end[ends.row] < ends.step
    return np.where((own == NONE) & has_ended, of_parent, own)


def _acted(parents: Parents, ends: Ends, texts: Sequence[str]) -> np.ndarray:
    """[M, G] where the intervention of each branch acted."""
    positions = ends.start.shape[1]
    interventions = parse_interventions(texts, gen_length=positions)
    if [each.text for each in interventions] != list(texts):
        raise DamagedRun(
            f"run.json names the interventions {list(texts)[:3]} ..., which are not written as "
            "`diffengine branch` writes them; copy the branch run again"
        )
    acted = np.zeros(ends.start.shape, bool)
    for number in np.flatnonzero(ends.intervention != NOTHING):
        row = int(ends.row[number])
        start, end = (int(place) for place in parents.span[row])
        acted[number] = interventions[int(ends.intervention[number])].positions(
            parents.canvas[int(ends.step[number])][row],
            ends.start[number],
            mask_id=parents.mask_id,
            answer=None if start < 0 else (start, end),
        )
    return acted


def _apart(ends: Ends, label: np.ndarray) -> Apart:
    """All pairs of branches of a state at which nothing was done, where there are two or more."""
    states: dict[tuple[int, int], list[int]] = {}
    for number in np.flatnonzero(ends.intervention == NOTHING).tolist():
        states.setdefault((int(ends.row[number]), int(ends.step[number])), []).append(number)
    found = []
    for (row, step), numbers in sorted(states.items()):
        pairs = len(numbers) * (len(numbers) - 1)
        if pairs:
            final = ends.final[numbers]
            differing = (final[:, None] != final[None]).sum() / pairs
            other = (label[numbers][:, None] != label[numbers][None]).sum() / pairs
            found.append((row, step, differing, other))
    columns = np.array(found, np.float64).reshape(-1, 4).T
    return Apart(columns[0].astype(np.int64), columns[1].astype(np.int64), columns[2], columns[3])


def _check(ends: Ends, parents: Parents) -> None:
    strange = sorted({int(step) for step in ends.step} - set(parents.canvas))
    if strange:
        raise DamagedRun(
            f"branches begin at step {strange[0]}, which run.json does not name among the steps "
            "asked for; copy the branch run again"
        )
