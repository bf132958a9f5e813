"""How far one run strays from another over the problems that both have: the same answer, the same
text, and the first step that commits another token.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from ...engine.answers.grade import same_answer
from ..groups import Groups
from .generations import Generations


class Stray(NamedTuple):
    """`rows` [pair, 2] are the rows of the shared problems in the reference and in the other run.

    `same_answer`, `same_text` [pair]: 1 or 0, NaN where undefined. `divergence` [pair]: the first
    step of the other run that commits a token other than the one that finally stands at that
    position in the reference; infinite where no step does, NaN where the runs have no positions in
    common; `undefined` then says why. `other_content`: ids that name different problems. `groups`:
    which pairs are of samples of one problem.
    """

    rows: np.ndarray
    same_answer: np.ndarray
    same_text: np.ndarray
    divergence: np.ndarray
    undefined: str
    other_content: int
    groups: Groups


def stray(reference: Generations, other: Generations) -> Stray:
    """Compare problem by problem. Answers are the extracted ones; where neither text has one there
    is nothing to compare."""
    rows = shared_rows(reference, other)
    answers = np.full(len(rows), np.nan)
    texts = np.full(len(rows), np.nan)
    for pair, (row, other_row) in enumerate(rows):
        answers[pair] = equal_answers(reference.answer[row], other.answer[other_row])
        texts[pair] = reference.text[row] == other.text[other_row]

    undefined = why_no_divergence(reference, other)
    divergence = np.full(len(rows), np.nan)
    if not undefined:
        divergence = first_divergence(
            reference.token[rows[:, 0]],
            reference.committed[rows[:, 0]],
            other.token[rows[:, 1]],
            other.commit_step[rows[:, 1]],
        )
    ids = {name for name, _ in reference.keys}
    other_ids = {name for name, _ in other.keys}
    return Stray(
        rows=rows,
        same_answer=answers,
        same_text=texts,
        divergence=divergence,
        undefined=undefined,
        other_content=len(ids & other_ids) - len(rows),
        groups=_groups(reference, other, rows),
    )


def _groups(reference: Generations, other: Generations, rows: np.ndarray) -> Groups:
    """Which pairs of rows are of samples of one problem."""
    for run, of_pairs in ((reference, rows[:, 0]), (other, rows[:, 1])):
        if run.group_ids:
            return Groups.of([run.group_ids[row] for row in of_pairs])
    return Groups.single(len(rows))


def shared_rows(reference: Generations, other: Generations) -> np.ndarray:
    """[pair, 2] rows of the problems with the same id, question and gold answer in both."""
    row_of = {key: row for row, key in enumerate(other.keys)}
    pairs = [(row, row_of[key]) for row, key in enumerate(reference.keys) if key in row_of]
    return np.array(pairs, np.int64).reshape(-1, 2)


def equal_answers(answer: str, other: str) -> float:
    """1 where two extracted answers are the same number or the same text, 0 where they differ or
    one is missing, NaN where both are."""
    if not answer and not other:
        return np.nan
    if not answer or not other:
        return 0.0
    return float(same_answer(answer, other))


def why_no_divergence(reference: Generations, other: Generations) -> str:
    """Why the two cannot be compared position by position, or nothing."""
    length = int(reference.config["gen_length"])
    other_length = int(other.config["gen_length"])
    if length != other_length:
        return f"gen_length is {length} in {reference.name} and {other_length} in {other.name}"
    model = reference.info["model"].get("fingerprint")
    other_model = other.info["model"].get("fingerprint")
    if model != other_model:
        return f"{reference.name} and {other.name} are of different models"
    return ""


def first_divergence(
    token: np.ndarray, committed: np.ndarray, other: np.ndarray, commit_step: np.ndarray
) -> np.ndarray:
    """[problem] the first step at which the other run commits a token that the reference does not
    end with; infinite where it never does.

    `token`, `other` [problem, position] are the final canvases, `committed` [problem, position]
    where the reference has a token, `commit_step` [problem, position] the other run's steps, -1 for
    none. A position that either left masked says nothing.
    """
    differs = committed & (commit_step >= 0) & (token != other)
    steps = np.where(differs, commit_step.astype(np.float64), np.inf)
    return np.asarray(steps.min(axis=1, initial=np.inf))
