"""Records in the shapes that public data sets have, and what is made of each; docs/problems.md has
the same table."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from diffengine.engine.problems.choices import INSTRUCTION
from diffengine.engine.problems.formats import parse_record
from diffengine.engine.problems.normal_form import load_problems, write_problems
from diffengine.engine.problems.read import (
    Problem,
    problem_columns,
    read_problems,
)
from diffengine.engine.problems.values import RecordError

PAGE = Path(__file__).parents[3] / "docs" / "problems.md"


def abcd(question: str, *choices: str) -> str:
    return "\n".join(
        [
            question,
            "",
            *(f"{'ABCDEFGHIJ'[n]}. {text}" for n, text in enumerate(choices)),
            "",
            INSTRUCTION,
        ]
    )


def rows(file: str) -> list[dict[str, Any]]:
    """The lines of a file beside this one: a shape by its name in the page, a record of it, and
    what is made of that."""
    text = Path(__file__).with_name(file).read_text(encoding="utf-8")
    return [json.loads(line) for line in text.splitlines()]


READ = rows("shapes_read.jsonl")
REFUSED = rows("shapes_refused.jsonl")


def names(table: list[dict[str, Any]]) -> list[str]:
    return [row["shape"] for row in table]


@pytest.mark.parametrize("row", READ, ids=names(READ))
def test_shapes_that_are_read(tmp_path: Path, row: dict[str, Any]) -> None:
    question = row["question"]
    if "choices" in row:
        question = abcd(question, *row["choices"])
    columns = row.get("columns", {})
    (tmp_path / "p.jsonl").write_text(json.dumps(row["record"]) + "\n")
    (problem,) = read_problems(tmp_path / "p.jsonl").problems
    assert (problem.question, problem.answer) == (question, row["answer"])
    assert problem.accepted == tuple(row.get("accepted", ()))
    assert dict(problem.columns) == columns

    write_problems(tmp_path / "problems.jsonl", [problem])
    assert load_problems(tmp_path / "problems.jsonl") == [problem]
    (again,) = read_problems(tmp_path / "problems.jsonl").problems
    assert (again.id, again.question, again.answers) == (problem.id, question, problem.answers)
    assert dict(again.columns) == columns


@pytest.mark.parametrize("row", REFUSED, ids=names(REFUSED))
def test_shapes_that_are_refused_say_why(row: dict[str, Any]) -> None:
    with pytest.raises(RecordError) as caught:
        parse_record(row["record"])
    assert row["says"] in str(caught.value) and "\n" not in str(caught.value)


def test_the_page_has_every_shape() -> None:
    page = PAGE.read_text(encoding="utf-8")
    assert [name for name in names(READ) + names(REFUSED) if name not in page] == []


CHOICES = {"question": "Q?", "choices": ["3", "1", "0"]}


@pytest.mark.parametrize(("answer", "letter"), [
    (0, "A"), (2, "C"), ("b", "B"), ("(C)", "C"), ("C.", "C"), ("3", "A"), (None, None), (1.0, "B"),
])  # fmt: skip
def test_the_right_choice_in_each_way_of_saying_it(answer: object, letter: str | None) -> None:
    assert parse_record({**CHOICES, "answer": answer}).answer == letter


@pytest.mark.parametrize(("record", "says"), [
    ({**CHOICES, "answer": "0"}, "the text of one choice and the place of another"),
    ({**CHOICES, "answer": "D"}, "none of the 3 choices: expected a letter up to C"),
    ({**CHOICES, "answer": 3}, "none of the 3 choices"),
    ({**CHOICES, "answer": -1}, "none of the 3 choices"),
    ({**CHOICES, "answer": True}, "`answer` is a JSON boolean"),
    ({**CHOICES, "answer": ["A", "B"]}, "`answer` is a JSON list"),
    (CHOICES, "choices, but no answer among"),
    ({"question": "Q", "choices": ["x"], "answer": 0}, "holds 1 choice, expected 2 to 26"),
    ({"question": "Q", "choices": ["x"] * 27, "answer": 0}, "holds 27 choices"),
    ({"question": "Q", "choices": ["x", None], "answer": 0}, "`choices[1]` is a JSON null"),
    ({"question": "Q", "choices": {"text": ["x", "y"], "label": ["A", "A"]}, "answer": "A"}, "1 different label"),
    ({"question": "Q", "choices": {"text": ["x", "y"], "label": ["A"]}, "answer": "A"}, "1 different label"),
])  # fmt: skip
def test_choices_that_cannot_be_told_apart_are_refused(record: dict[str, Any], says: str) -> None:
    with pytest.raises(RecordError) as caught:
        parse_record(record)
    assert says in str(caught.value)


def test_the_same_id_in_other_instances_is_another_problem(tmp_path: Path) -> None:
    lines = [{"id": 0, "instance": n, "question": f"{n}?", "answer": "#### 4"} for n in range(3)]
    (tmp_path / "p.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    assert [problem.id for problem in read_problems(tmp_path / "p.jsonl").problems] == [
        "0",
        "0/1",
        "0/2",
    ]


def test_what_one_record_accepts_no_other_does(tmp_path: Path) -> None:
    """`accepted` of a yes-no problem in the form of problems.jsonl once counted for all after it."""
    normal_form = dict.fromkeys(("id", "messages", "solution", "source", "line"))
    first = {**normal_form, "question": "a?", "answer": True, "accepted": ["maybe"]}
    lines = [first, {"question": "b?", "answer": True}]
    (tmp_path / "p.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    problems = read_problems(tmp_path / "p.jsonl").problems
    assert [problem.answers for problem in problems] == [("yes", "true", "maybe"), ("yes", "true")]


def test_columns_survive_whatever_their_names_and_values_are(tmp_path: Path) -> None:
    odd = {"source": "olympiads", "line": 7, "columns": {"a": 1}, "accepted": "no", "level": None, "nan": float("nan"),
           "deep": [{"x": [1, None]}], "half": "\ud83d", "big": 10**40, "": "nameless"}  # fmt: skip
    (tmp_path / "p.jsonl").write_text(json.dumps({"question": "Q?", "answer": "1", **odd}) + "\n")
    (problem,) = read_problems(tmp_path / "p.jsonl").problems
    assert (problem.source, problem.line, problem.accepted) == (str(tmp_path / "p.jsonl"), 1, ())
    assert dict(problem.columns) == {**{k: v for k, v in odd.items() if k != "level"}, "nan": None}
    write_problems(tmp_path / "problems.jsonl", [problem])
    assert load_problems(tmp_path / "problems.jsonl") == [problem]


def test_columns_of_all_problems_have_a_place_for_each() -> None:
    problems = [
        Problem("a", "Q", "1", columns={"level": 2}),
        Problem("b", "Q", "1", columns={"subject": "x"}),
    ]
    assert problem_columns(problems) == {"level": [2, None], "subject": [None, "x"]}


def test_neither_columns_nor_their_absence_change_what_a_run_is(tmp_path: Path) -> None:
    """Runs made before columns were kept go on: hash and ids of a source are what they were."""
    plain, more = {"question": "Q?", "answer": "1"}, {"question": "Q?", "answer": "1", "level": 3}
    several = {"question": "Q?", "answer": ["1", "one"]}
    hashes = []
    for record in (plain, more, several):
        (tmp_path / "p.jsonl").write_text(json.dumps(record) + "\n")
        found = read_problems(tmp_path / "p.jsonl")
        hashes.append((found.sha256, found.problems[0].id))
    assert hashes[0] == hashes[1] != hashes[2]
    # sha256 of the line ["<id>","Q?","1",null,null], as version 0.1 wrote it
    import hashlib

    name = "p-" + hashlib.sha256(b'["Q?","1"]').hexdigest()[:12]
    assert hashes[0] == (
        hashlib.sha256(f'["{name}","Q?","1",null,null]\n'.encode()).hexdigest(),
        name,
    )
