"""How the branches of one branch run end, and the parent's decodings that they leave.

Shapes: N decodings of the parent, M branches, G generated positions.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from ...engine.answers.classes import answer_classes
from ...engine.store.format.verdicts import CORRECT, NO_GOLD_ANSWER
from ..metrics.block import end_step

if TYPE_CHECKING:
    from ...engine.store import Run

GOLD = "answer_logprob"


@dataclass(frozen=True, eq=False)
class Parents:
    """The decodings of the parent run: `final` [N, G] canvas, `canvas` [N, G] by the steps that
    branches begin at, `span` [N, 2] of the answer (-1, -1 where there is none), its text `answer`
    [N] and `verdict` [N], the last step `end` [N] with a pass, the problem `groups` [N] that each
    is a sample of. `gold` [N] by step: log-probability of the gold answer, see `gold_logprob`."""

    ids: Sequence[str]
    final: np.ndarray
    canvas: Mapping[int, np.ndarray]
    span: np.ndarray
    answer: np.ndarray
    verdict: np.ndarray
    end: np.ndarray
    groups: np.ndarray
    gold: Mapping[int, np.ndarray]
    mask_id: int


class Ends(NamedTuple):
    """The branches [M]: whose (`row` of the parent), from which `step`, after which `intervention`,
    which `branch`; the canvases that they began and ended with, `start` and `final` [M, G]; their
    answers and verdicts; log-probability of the `gold` answer in their first pass."""

    row: np.ndarray
    step: np.ndarray
    intervention: np.ndarray
    branch: np.ndarray
    start: np.ndarray
    final: np.ndarray
    answer: np.ndarray
    verdict: np.ndarray
    gold: np.ndarray


def read_parents(parent: Run, steps: Sequence[int]) -> Parents:
    """What is needed of the parent run, whose branches begin at `steps`. Raises NotStored where it
    keeps no canvases."""
    n = len(parent.ids)
    positions = parent.sizes["position"]
    final = np.zeros((n, positions), np.int32)
    canvas = {step: np.zeros((n, positions), np.int32) for step in steps}
    gold = {step: np.full(n, np.nan) for step in steps}
    end = np.zeros(n, np.int64)
    span = np.stack([parent["answer_start"][...], parent["answer_end"][...]], axis=1)
    mask_id = int(parent.info["model"]["mask_token_id"])
    names = ["token", "performed"]
    names += [name for name in ("start_token", GOLD, "answer_token_id") if name in parent]
    for block in parent.blocks(names):
        rows = block["row"]
        token = block["token"]
        first = block.get("start_token", np.full_like(token[:, 0], mask_id))
        final[rows] = token[:, -1]
        end[rows] = end_step(block["performed"] != 0)
        for step in steps:
            canvas[step][rows] = token[:, step - 1] if step else first
            if GOLD in block:
                began = np.full(len(rows), step)
                gold[step][rows] = gold_logprob(block, began, span[rows])
    return Parents(
        ids=parent.ids,
        final=final,
        canvas=canvas,
        span=span,
        answer=np.asarray(parent["extracted_answer"][...], object),
        verdict=np.asarray(parent["verdict"][...]),
        end=end,
        groups=_groups(parent),
        gold=gold,
        mask_id=mask_id,
    )


def read_ends(branches: Run, parents_ids: Sequence[str], span: np.ndarray) -> Ends:
    """The stored branches whose parent is stored; `span` [N, 2] are the answers of the parents."""
    row_of = {name: row for row, name in enumerate(parents_ids)}
    parent_id = branches["parent_id"][...]
    row = np.array([row_of.get(str(name), -1) for name in parent_id], np.int64)
    step = np.asarray(branches["branch_step"][...], np.int64)
    known = np.flatnonzero(row >= 0)
    return Ends(
        row=row[known],
        step=step[known],
        intervention=np.asarray(branches["intervention"][...])[known],
        branch=np.asarray(branches["branch"][...])[known],
        start=np.asarray(branches["start_token"][...])[known],
        final=_final(branches)[known],
        answer=np.asarray(branches["extracted_answer"][...], object)[known],
        verdict=np.asarray(branches["verdict"][...])[known],
        gold=_gold(branches, step, span[row])[known],
    )


def gold_logprob(
    block: Mapping[str, np.ndarray], began: np.ndarray, span: np.ndarray
) -> np.ndarray:
    """[M] log-probability of the gold answer, token by token, where the parent's answer stands, in
    nats, in the first pass from step `began` [M] on.

    NaN where gold answer and `span` [M, 2] differ in their number of tokens, and where one of the
    values was not recorded.
    """
    performed = block["performed"] != 0
    wanted = block["answer_token_id"] >= 0
    values = np.full(len(began), np.nan)
    for number, step in enumerate(began.tolist()):
        passes = np.flatnonzero(performed[number, step:])
        length = int(wanted[number].sum())
        start, end = (int(place) for place in span[number])
        if not len(passes) or start < 0 or not length or end - start != length:
            continue
        at_slot = block[GOLD][number, step + passes[0], start:end]
        values[number] = at_slot[np.arange(length), np.arange(length)].sum()
    return values


def answer_labels(parents: Parents, ends: Ends) -> tuple[np.ndarray, np.ndarray]:
    """Classes of the answers of the branches [M] and of their parents [N]: equal where the grader
    calls two answers to one problem the same."""
    of_parent = np.zeros(len(parents.ids), np.int64)
    of_branch = np.zeros(len(ends.row), np.int64)
    order = np.argsort(ends.row, kind="stable")
    starts = np.searchsorted(ends.row[order], np.arange(len(parents.ids) + 1))
    for row in range(len(parents.ids)):
        mine = order[starts[row] : starts[row + 1]]
        answers = [str(parents.answer[row]), *(str(answer) for answer in ends.answer[mine])]
        right = [parents.verdict[row] == CORRECT, *(ends.verdict[mine] == CORRECT)]
        label = answer_classes(answers, [bool(each) for each in right]).label
        of_parent[row] = label[0]
        of_branch[mine] = label[1:]
    return of_branch, of_parent


def correctness(verdict: np.ndarray) -> np.ndarray:
    """1 where correct, 0 where not, NaN without a gold answer."""
    return np.where(verdict == NO_GOLD_ANSWER, np.nan, (verdict == CORRECT).astype(np.float64))


def _groups(parent: Run) -> np.ndarray:
    if "group_id" in parent:
        return np.asarray(parent["group_id"][...], object)
    return np.asarray(parent.ids, object)


def _final(branches: Run) -> np.ndarray:
    if "final_token" in branches:
        return np.asarray(branches["final_token"][...])
    return np.asarray(branches["token"][:, -1])


def _gold(branches: Run, began: np.ndarray, span: np.ndarray) -> np.ndarray:
    values = np.full(len(began), np.nan)
    if GOLD not in branches:
        return values
    for block in branches.blocks([GOLD, "answer_token_id", "performed"]):
        rows = block["row"]
        values[rows] = gold_logprob(block, began[rows], span[rows])
    return values
