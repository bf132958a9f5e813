"""The table of pivotal steps: the problems whose largest drop of H(A | x_t) between neighbouring
steps is beyond chance, as lines of the summary and as pivotal_steps.csv.

A row says where the drop is, how large, which answers the states before and behind it come to, and
which tokens the parent committed between them.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from ...engine.store.counts import count_text
from ...engine.store.write.results import publish
from ..branching.answers import LEVEL
from ..results import Analysis

NAME = "pivotal_steps.csv"
LINES = 10
"""Rows in the summary; the CSV has all."""

MOST_LETTERS = 60
"""Of an answer, or of the tokens between, in a line."""

COLUMNS = (
    "id",
    "question",
    "step",
    "until",
    "drop_bits",
    "p",
    "before",
    "after",
    "committed_between",
)
"""Of pivotal_steps.csv. `step`, `until`: the answer is less open behind `until` steps than behind
`step`; `before`, `after`: the most frequent answers there with their shares of the draws."""


class Answer(NamedTuple):
    """An answer and its share of the draws of a state; "" is no answer."""

    text: str
    share: float


class Pivot(NamedTuple):
    """A row of the table; `row` is the decoding's place in the run. `others_before`,
    `others_after`: how many different answers there are beside those named."""

    row: int
    id: str
    question: str
    step: int
    until: int
    drop: float
    p: float
    before: Sequence[Answer]
    others_before: int
    after: Sequence[Answer]
    others_after: int
    committed: str


def pivots(analysis: Analysis) -> list[Pivot]:
    """All rows, the largest drop first; empty where there are no branches."""
    columns = analysis.problems
    facts = analysis.info.get("branching")
    if not facts or "branch_answer" not in columns:
        return []
    beyond = np.flatnonzero(columns["pivotal_p"] <= LEVEL)
    order = np.argsort(-columns["pivotal_drop"][beyond], kind="stable")
    place_of = {step: place for place, step in enumerate([*facts["at"], facts["end"]])}
    table = []
    for row in beyond[order].tolist():
        step = int(columns["pivotal_step"][row])
        until = int(columns["pivotal_until"][row])
        before, others_before = answers_at(analysis, row, place_of[step])
        after, others_after = answers_at(analysis, row, place_of[until])
        table.append(
            Pivot(
                row=row,
                id=str(columns["id"][row]),
                question=str(columns["question"][row]),
                step=step,
                until=until,
                drop=float(columns["pivotal_drop"][row]),
                p=float(columns["pivotal_p"][row]),
                before=before,
                others_before=others_before,
                after=after,
                others_after=others_after,
                committed=str(columns["pivotal_tokens"][row]),
            )
        )
    return table


def answers_at(analysis: Analysis, row: int, place: int) -> tuple[list[Answer], int]:
    """The most frequent answers of a state, by its place in the grid, and how many more there are;
    none where not all of its draws are there."""
    texts = analysis.problems["branch_answer"][row, place]
    shares = analysis.problems["branch_share"][row, place]
    named = [
        Answer(str(text), float(share))
        for text, share in zip(texts, shares, strict=True)
        if np.isfinite(share)
    ]
    return named, max(int(analysis.problems["branch_answers"][row, place]) - len(named), 0)


def pivotal_lines(analysis: Analysis) -> list[str]:
    """The first rows, three lines each, and where the others are."""
    facts = analysis.info.get("branching")
    if not facts:
        return ["no branches to read them from"]
    share = analysis["pivotal/problems"]
    if not share.ok:
        return [share.status]
    table = pivots(analysis)
    tested = count_text(int(share.n), "problem")
    if not table:
        return [f"none: no drop is beyond chance (p <= {LEVEL:g}) in {tested}"]
    shown = table[:LINES]
    first = "all" if len(shown) == len(table) else f"the {len(shown)} largest"
    lines = [
        f"{count_text(len(table), 'drop')} of H(A | x_t) beyond chance (p <= {LEVEL:g}) in "
        f"{tested}; {first} here, all in {NAME}"
    ]
    for pivot in shown:
        lines += _lines_of(pivot)
    return lines


def _lines_of(pivot: Pivot) -> list[str]:
    committed = cut(pivot.committed) if pivot.committed else "none"
    return [
        f"    {pivot.id}: {pivot.question}",
        f"        step {pivot.step} -> {pivot.until}: {pivot.drop:.2f} bits (p = {pivot.p:.3g}); "
        f"committed between: {committed}",
        f"        {answers_text(pivot.before, pivot.others_before)} -> "
        f"{answers_text(pivot.after, pivot.others_after)}",
    ]


def answers_text(answers: Sequence[Answer], others: int = 0) -> str:
    """ "72 (56 %), 36 (25 %) and 3 others"."""
    named = []
    for answer in answers:
        named.append(f"{cut(answer.text) or 'no answer'} ({100 * answer.share:.0f} %)")
    text = ", ".join(named)
    return f"{text} and {count_text(others, 'other')}" if others else text


def cut(text: str) -> str:
    """A text on one line, line ends shown, cut to `MOST_LETTERS`."""
    line = " ".join(text.replace("\n", "↵").split())
    return line if len(line) <= MOST_LETTERS else f"{line[: MOST_LETTERS - 1]}…"


def write_pivotal_steps(analysis: Analysis, path: str | Path) -> Path:
    """The whole table as CSV, numbers in full; only its head where there is nothing. Raises
    OSError."""
    table = io.StringIO()
    writer = csv.writer(table, lineterminator="\n")
    writer.writerow(COLUMNS)
    for pivot in pivots(analysis):
        writer.writerow(
            [
                pivot.id,
                pivot.question,
                pivot.step,
                pivot.until,
                repr(pivot.drop),
                repr(pivot.p),
                answers_text(pivot.before, pivot.others_before),
                answers_text(pivot.after, pivot.others_after),
                pivot.committed,
            ]
        )
    publish(path, table.getvalue().encode("utf-8", "replace"))
    return Path(path)
