"""What stands beside a pivotal step: the first words of the question, and the tokens that were
committed between."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from diffengine.analysis.branching.permutations import Pivotal
from diffengine.analysis.branching.pivots import (
    MOST_LETTERS,
    first_words,
    joined,
    pivot_columns,
)

SCHEDULE = [[0, 1], [4], [2, 3], [5]]
"""Positions that each step commits."""

TEXTS = "abcdef"


class Parent(dict[str, np.ndarray]):
    """Two decodings of six positions, whose token at position p is p + 1 (0 is the mask)."""

    def __init__(self, path: Path, **columns: np.ndarray) -> None:
        super().__init__(columns)
        self.path = path
        self.ids = ["p0", "p1"]
        question = "How\nmany  " + "rocks " * 30
        self.problems = [SimpleNamespace(id=name, question=question) for name in self.ids]


def parent(path: Path) -> Parent:
    committed = np.zeros((2, 4, 6), np.uint8)
    token = np.zeros((2, 4, 6), np.int32)
    for step, positions in enumerate(SCHEDULE):
        committed[:, step, positions] = 1
        for position in positions:
            token[:, step:, position] = position + 1
    return Parent(path, committed=committed, token=token)


def pivotal(step: int, until: int, p: float) -> Pivotal:
    return Pivotal(
        step=np.array([step, 0]),
        until=np.array([until, 1]),
        drop=np.array([1.0, 1.0]),
        p=np.array([p, np.nan]),
    )


@pytest.mark.parametrize(
    ("step", "until", "expected"),
    [(0, 1, "ab"), (1, 3, "cde"), (1, 2, "e"), (0, 2, "ab … e"), (3, 4, "f"), (0, 4, "abcdef")],
)
def test_the_tokens_committed_between(
    step: int, until: int, expected: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    texts = {str(number + 1): letter for number, letter in enumerate(TEXTS)}
    monkeypatch.setattr("diffengine.analysis.branching.pivots.run_tokens", lambda path: texts)
    run: Any = parent(tmp_path)
    columns = pivot_columns(run, pivotal(step, until, 0.01), level=0.05)
    assert columns["pivotal_tokens"].tolist() == [expected, ""]


def test_no_tokens_where_the_drop_may_be_chance_or_nothing_was_kept(tmp_path: Path) -> None:
    run: Any = parent(tmp_path)
    assert not any(pivot_columns(run, pivotal(0, 2, 0.06), level=0.05)["pivotal_tokens"])
    bare: Any = Parent(tmp_path)
    assert not any(pivot_columns(bare, pivotal(0, 2, 0.01), level=0.05)["pivotal_tokens"])


def test_tokens_without_a_text_are_ids(tmp_path: Path) -> None:
    run: Any = parent(tmp_path)
    columns = pivot_columns(run, pivotal(0, 2, 0.01), level=0.05)
    assert columns["pivotal_tokens"][0] == "#1#2 … #5"


def test_questions_are_one_line_cut_between_words(tmp_path: Path) -> None:
    run: Any = parent(tmp_path)
    question = pivot_columns(run, pivotal(0, 2, 0.01), level=0.05)["question"][0]
    assert question.startswith("How many rocks rocks") and question.endswith("rocks…")
    assert len(question) <= MOST_LETTERS
    assert first_words("short\tone") == "short one"
    assert first_words("one. " * 30).endswith("one. one…")
    assert first_words("x" * 200) == "x" * (MOST_LETTERS - 1) + "…"


def test_texts_can_be_stored(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    texts = {"1": "\0", "2": json.loads('"\\ud800"')}
    monkeypatch.setattr("diffengine.analysis.branching.pivots.run_tokens", lambda path: texts)
    run: Any = parent(tmp_path)
    columns = pivot_columns(run, pivotal(0, 1, 0.01), level=0.05)
    text = columns["pivotal_tokens"][0]
    assert text.encode() and "\0" not in text


def test_only_neighbours_are_joined() -> None:
    there = np.array([True, False, True, True, False, True])
    assert joined(list(TEXTS), there) == "a … cd … f"
    assert joined(list(TEXTS), np.zeros(6, bool)) == ""
