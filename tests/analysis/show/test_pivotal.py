"""The table of pivotal steps: which problems are in it, in which order, and what is said of each."""

from __future__ import annotations

import csv
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from diffengine.analysis.quantity import Quantity
from diffengine.analysis.show.pivotal import (
    COLUMNS,
    LINES,
    Answer,
    answers_text,
    cut,
    pivotal_lines,
    pivots,
    write_pivotal_steps,
)

AT = [0, 8, 16]
END = 24


class Given:
    """What the table reads of an analysis: `n` decodings whose drops grow with their row, those of
    odd rows by chance."""

    def __init__(self, n: int, *, status: str = "ok", said: str = "4\n2") -> None:
        self.info: dict[str, Any] = {"branching": {"at": AT, "end": END}}
        row = np.arange(n)
        answer = np.full((n, 4, 3), "", object)
        share = np.full((n, 4, 3), np.nan)
        answer[:, 1, :2] = ["7", ""]
        share[:, 1, :2] = [0.75, 0.25]
        answer[:, 2, 0] = said
        share[:, 2, 0] = 1.0
        answer[:, 3, 0] = "5"
        share[:, 3, 0] = 1.0
        self.problems = {
            "id": np.array([f"p{number}" for number in row], object),
            "question": np.array([f"Question {number}?" for number in row], object),
            "pivotal_step": np.where(row % 4 == 0, 8, 16),
            "pivotal_until": np.where(row % 4 == 0, 16, END),
            "pivotal_drop": 1.0 + row / 8,
            "pivotal_p": np.where(row % 2 == 0, 0.05, 0.051),
            "pivotal_tokens": np.full(n, "a\nb", object),
            "branch_answer": answer,
            "branch_share": share,
            "branch_answers": np.tile([9, 5, 1, 1], (n, 1)),
        }
        share_of = np.asarray(0.5)
        self._share = Quantity(share_of, (), "1", n, None, status, "share of problems")

    def __getitem__(self, name: str) -> Quantity:
        assert name == "pivotal/problems"
        return self._share


def given(n: int, **more: Any) -> Any:
    return Given(n, **more)


def test_those_beyond_chance_are_there_the_largest_first() -> None:
    table = pivots(given(8))
    assert [pivot.id for pivot in table] == ["p6", "p4", "p2", "p0"]
    assert [pivot.drop for pivot in table] == [1.75, 1.5, 1.25, 1.0]
    assert [(pivot.step, pivot.until) for pivot in table] == [(16, 24), (8, 16)] * 2


def test_answers_are_those_of_the_two_states() -> None:
    at_end, inside = pivots(given(8))[:2]
    assert inside.before == [Answer("7", 0.75), Answer("", 0.25)] and inside.others_before == 3
    assert inside.after == [Answer("4\n2", 1.0)] and inside.others_after == 0
    assert at_end.before == [Answer("4\n2", 1.0)] and at_end.after == [Answer("5", 1.0)]


def test_the_lines_say_all_of_it_on_one_line_each() -> None:
    lines = pivotal_lines(given(8))
    assert "4 drops of H(A | x_t) beyond chance (p <= 0.05) in 8 problems" in lines[0]
    assert "all here" in lines[0] and not any("\n" in line for line in lines)
    assert len(lines) == 1 + 3 * 4
    assert lines[4].strip() == "p4: Question 4?"
    assert "step 8 -> 16: 1.50 bits (p = 0.05); committed between: a↵b" in lines[5]
    assert lines[6].strip() == "7 (75 %), no answer (25 %) and 3 others -> 4↵2 (100 %)"


def test_the_summary_has_the_first_and_the_csv_all(tmp_path: Path) -> None:
    many = given(60)
    lines = pivotal_lines(many)
    assert len(lines) == 1 + 3 * LINES
    assert "30 drops" in lines[0] and f"the {LINES} largest here" in lines[0]
    written = write_pivotal_steps(many, tmp_path / "pivotal_steps.csv")
    with written.open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert tuple(rows[0]) == COLUMNS and len(rows) == 30
    assert [row["id"] for row in rows] == [f"p{number}" for number in range(58, -1, -2)]
    assert float(rows[0]["drop_bits"]) == 1.0 + 58 / 8 and float(rows[0]["p"]) == 0.05
    assert rows[0]["committed_between"] == "a\nb"


@pytest.mark.parametrize("said", ["a,b", 'quote "', "\ud800", "=1+1", "(5 %)"])
def test_any_text_can_be_an_answer(said: str, tmp_path: Path) -> None:
    written = write_pivotal_steps(given(2, said=said), tmp_path / "pivotal_steps.csv")
    with written.open(newline="", encoding="utf-8") as file:
        (row,) = csv.DictReader(file)
    expected = said.replace("\ud800", "?")
    assert row["after"] == f"{expected} (100 %)"


def test_without_rows_the_lines_say_why(tmp_path: Path) -> None:
    none = given(8)
    none.problems["pivotal_p"] = np.full(8, np.nan)
    assert pivotal_lines(none) == ["none: no drop is beyond chance (p <= 0.05) in 8 problems"]
    written = write_pivotal_steps(none, tmp_path / "pivotal_steps.csv")
    assert written.read_text() == ",".join(COLUMNS) + "\n"
    assert pivotal_lines(given(0, status="insufficient: no problem")) == [
        "insufficient: no problem"
    ]
    bare = given(8)
    bare.info = {}
    assert pivotal_lines(bare) == ["no branches to read them from"] and pivots(bare) == []
    older = given(8)
    del older.problems["branch_answer"]
    assert pivots(older) == []


def test_long_texts_are_cut() -> None:
    assert len(cut("x" * 500)) == 60 and cut("x" * 500).endswith("…")
    assert answers_text([]) == ""
    assert answers_text([Answer("5", 0.5)], 1) == "5 (50 %) and 1 other"
