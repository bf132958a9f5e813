"""What a table says of a pivotal step beside its numbers: the question, and the tokens that the
parent committed between the two steps."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from ...engine.store.format.columns import storable
from ...engine.store.read.tokens import run_tokens
from .permutations import Pivotal

if TYPE_CHECKING:
    from ...engine.store import Run

MOST_LETTERS = 80
"""Of a question in a table."""

APART = " … "
"""Between tokens that stand apart."""


def pivot_columns(run: Run, pivotal: Pivotal, *, level: float) -> dict[str, np.ndarray]:
    """`question` [N], its first words; `pivotal_tokens` [N], "" where the largest drop is not
    beyond chance (p > `level`) or the run keeps no commits. Raises DamagedRun."""
    n = len(run.ids)
    question_of = {problem.id: problem.question for problem in run.problems}
    question = np.full(n, "", object)
    for row, name in enumerate(run.ids):
        question[row] = storable(first_words(question_of[name]))

    tokens = np.full(n, "", object)
    if "committed" in run and "token" in run:
        text_of = run_tokens(Path(run.path))
        for row in np.flatnonzero(pivotal.p <= level).tolist():
            between = slice(int(pivotal.step[row]), int(pivotal.until[row]))
            committed = np.asarray(run["committed"][row])[between] == 1
            token = np.asarray(run["token"][row])[between][-1]
            texts = [text_of.get(str(each), f"#{each}") for each in token.tolist()]
            tokens[row] = storable(joined(texts, committed.any(axis=0)))
    return {"question": question, "pivotal_tokens": tokens}


def first_words(question: str) -> str:
    """A question on one line, cut to `MOST_LETTERS`, between words where it can be."""
    line = " ".join(question.split())
    if len(line) <= MOST_LETTERS:
        return line
    cut = line[: MOST_LETTERS - 1]
    words, _, _ = cut.rpartition(" ")
    return f"{(words or cut).rstrip(' .,;:')}…"


def joined(texts: list[str], is_there: np.ndarray) -> str:
    """The texts [position] at the positions that are there, those that stand apart set apart."""
    parts: list[str] = []
    last = -2
    for position in np.flatnonzero(is_there).tolist():
        if position == last + 1:
            parts[-1] += texts[position]
        else:
            parts.append(texts[position])
        last = position
    return APART.join(parts)
