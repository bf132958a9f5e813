"""Records in the shapes that public data sets have, and what is made of each; docs/problems.md has
the same table."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from diffengine.engine.problems.choices import INSTRUCTION
from diffengine.engine.problems.formats import RecordError, parse_record
from diffengine.engine.problems.read import (
    Problem,
    load_problems,
    problem_columns,
    read_problems,
    write_problems,
)

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


# name in the page, record, question, answer, accepted, columns
READ: list[tuple[str, dict[str, Any], str, str | None, tuple[str, ...], dict[str, Any]]] = [
    ("GSM8K", {"question": "Q?", "answer": "2 + 2 = 4\n#### 4"}, "Q?", "4", (), {}),
    (
        "GSM-Symbolic",
        {"id": 0, "instance": 3, "question": "Q?", "answer": "so #### 4", "original_id": 473},
        "Q?",
        "4",
        (),
        {"instance": 3, "original_id": 473},
    ),
    (
        "GSM-Plus",
        {"question": "Q?", "solution": "s", "answer": "4", "perturbation_type": "digit expansion"},
        "Q?",
        "4",
        (),
        {"perturbation_type": "digit expansion"},
    ),
    (
        "MGSM",
        {"question": "Q?", "answer": None, "answer_number": 18, "equation_solution": None},
        "Q?",
        "18",
        (),
        {},
    ),
    (
        "MATH",
        {
            "problem": "P",
            "level": "Level 5",
            "type": "Algebra",
            "solution": r"so $\boxed{\frac12}$",
        },
        "P",
        r"\frac12",
        (),
        {"level": "Level 5", "type": "Algebra"},
    ),
    (
        "MATH-500",
        {
            "problem": "P",
            "solution": "s",
            "answer": "p - q",
            "subject": "Algebra",
            "level": 2,
            "unique_id": "test/algebra/2.json",
        },
        "P",
        "p - q",
        (),
        {"subject": "Algebra", "level": 2},
    ),
    ("AIME", {"ID": "2024-I-4", "Problem": "P", "Solution": "S", "Answer": 33}, "P", "33", (), {}),
    (
        "AIME",
        {"id": 60, "problem": "P", "answer": "073", "year": "2024"},
        "P",
        "073",
        (),
        {"year": "2024"},
    ),
    (
        "OlympiadBench",
        {
            "id": 1,
            "question": "Q",
            "solution": ["a", "b"],
            "final_answer": ["$2$"],
            "context": None,
            "unit": None,
            "subfield": "Algebra",
        },
        "Q",
        "2",
        (),
        {"subfield": "Algebra"},
    ),
    (
        "SVAMP",
        {
            "ID": "chal-1",
            "Body": "Jo has 8.0 apples.",
            "Question": "How many?",
            "Equation": "( 8.0 - 1.0 )",
            "Answer": 7.0,
            "Type": "Subtraction",
        },
        "Jo has 8.0 apples. How many?",
        "7",
        (),
        {"Equation": "( 8.0 - 1.0 )", "Type": "Subtraction"},
    ),
    (
        "ASDiv",
        {
            "body": "Seven red apples and two green.",
            "question": "How many?",
            "answer": "9 (apples)",
            "formula": "7+2=9",
        },
        "Seven red apples and two green. How many?",
        "9",
        (),
        {"answer": "9 (apples)", "formula": "7+2=9"},
    ),
    ("MultiArith", {"question": "Q?", "final_ans": "4"}, "Q?", "4", (), {}),
    (
        "MAWPS",
        {"iIndex": 5, "sQuestion": "Q?", "lSolutions": [4.0], "lEquations": ["x=4"]},
        "Q?",
        "4",
        (),
        {"lEquations": ["x=4"]},
    ),
    (
        "MMLU",
        {"question": "Q?", "subject": "anatomy", "choices": ["a1", "b1", "c1", "d1"], "answer": 2},
        abcd("Q?", "a1", "b1", "c1", "d1"),
        "C",
        (),
        {"subject": "anatomy"},
    ),
    (
        "MMLU",
        {"question": "Q?", "A": "7", "B": "8", "C": "9", "D": "10", "answer": "B"},
        abcd("Q?", "7", "8", "9", "10"),
        "B",
        (),
        {},
    ),
    (
        "MMLU-Pro",
        {
            "question": "Q?",
            "options": [f"o{n}" for n in range(10)],
            "answer": "I",
            "answer_index": 8,
        },
        abcd("Q?", *(f"o{n}" for n in range(10))),
        "I",
        (),
        {"answer_index": 8},
    ),
    (
        "ARC",
        {
            "id": "M1",
            "question": "Q?",
            "choices": {"text": ["x", "y"], "label": ["1", "2"]},
            "answerKey": "2",
        },
        abcd("Q?", "x", "y"),
        "B",
        (),
        {},
    ),
    (
        "ARC",
        {
            "id": "M1",
            "question": {
                "stem": "Q?",
                "choices": [{"text": "x", "label": "A"}, {"text": "y", "label": "B"}],
            },
            "answerKey": "B",
        },
        abcd("Q?", "x", "y"),
        "B",
        (),
        {},
    ),
    (
        "OpenBookQA",
        {
            "question_stem": "Q?",
            "choices": {"text": ["x", "y"], "label": ["A", "B"]},
            "answerKey": "A",
        },
        abcd("Q?", "x", "y"),
        "A",
        (),
        {},
    ),
    (
        "HellaSwag",
        {"ind": 4, "ctx": "A man sits.", "endings": ["e1", "e2", "e3", "e4"], "label": "3"},
        abcd("A man sits.", "e1", "e2", "e3", "e4"),
        "D",
        (),
        {"ind": 4},
    ),
    (
        "PIQA",
        {"goal": "Boil?", "sol1": "heat", "sol2": "cool", "label": 0},
        abcd("Boil?", "heat", "cool"),
        "A",
        (),
        {},
    ),
    (
        "WinoGrande",
        {"sentence": "The _ won.", "option1": "cat", "option2": "dog", "answer": "2"},
        abcd("The _ won.", "cat", "dog"),
        "B",
        (),
        {},
    ),
    (
        "AQuA",
        {
            "question": "Q?",
            "options": ["A)21", "B)21.5", "C)22"],
            "rationale": "because",
            "correct": "C",
        },
        abcd("Q?", "21", "21.5", "22"),
        "C",
        (),
        {},
    ),
    (
        "MedQA",
        {"question": "Q?", "options": {"A": "x", "B": "y"}, "answer": "y", "answer_idx": "B"},
        abcd("Q?", "x", "y"),
        "B",
        (),
        {"answer_idx": "B"},
    ),
    (
        "RACE",
        {"article": "Text.", "question": "Q?", "options": ["x", "y"], "answer": "B"},
        abcd("Text.\n\nQ?", "x", "y"),
        "B",
        (),
        {},
    ),
    (
        "SQuAD",
        {
            "id": "5",
            "title": "T",
            "context": "Passage.",
            "question": "Q?",
            "answers": {"text": ["Denver", "Denver", "the Broncos"], "answer_start": [1, 1, 3]},
        },
        "Passage.\n\nQ?",
        "Denver",
        ("the Broncos",),
        {"title": "T"},
    ),
    (
        "TriviaQA",
        {
            "question_id": "tc_1",
            "question": "Q?",
            "answer": {
                "value": "Sunset Blvd",
                "aliases": ["Sunset Boulevard", "Sunset Blvd"],
                "normalized_value": "sunset blvd",
            },
        },
        "Q?",
        "Sunset Blvd",
        ("Sunset Boulevard",),
        {"question_id": "tc_1"},
    ),
    (
        "Natural Questions",
        {"question": "q", "answer": ["14", "fourteen"]},
        "q",
        "14",
        ("fourteen",),
        {},
    ),
    (
        "DROP",
        {
            "section_id": "n",
            "passage": "Passage.",
            "question": "Q?",
            "answers_spans": {"spans": ["3", "3"], "types": ["number", "number"]},
        },
        "Passage.\n\nQ?",
        "3",
        (),
        {"section_id": "n"},
    ),
    (
        "BoolQ",
        {"question": "is it", "passage": "Passage.", "answer": True},
        "Passage.\n\nis it",
        "yes",
        ("true",),
        {},
    ),
    (
        "StrategyQA",
        {"qid": "a", "term": "t", "question": "Q?", "answer": False, "facts": ["f"]},
        "Q?",
        "no",
        ("false",),
        {"qid": "a", "term": "t", "facts": ["f"]},
    ),
    ("BBH", {"input": "Q?", "target": "(B)"}, "Q?", "(B)", (), {}),
    (
        "alpaca",
        {"instruction": "Add.", "input": "2 and 2", "output": "It is #### 4"},
        "Add.\n\n2 and 2",
        "4",
        (),
        {},
    ),
    (
        "alpaca",
        {"instruction": "What is 2+2?", "input": "", "output": "4"},
        "What is 2+2?",
        "4",
        (),
        {"input": ""},
    ),
    (
        "OpenAI chat",
        {
            "messages": [
                {"role": "developer", "content": "Be brief."},
                {"role": "user", "content": [{"type": "text", "text": "Q?"}]},
                {"role": "assistant", "content": "72"},
            ]
        },
        "Q?",
        "72",
        (),
        {},
    ),
    (
        "ShareGPT",
        {
            "id": "c1",
            "conversations": [
                {"from": "system", "value": "S"},
                {"from": "human", "value": "Q?"},
                {"from": "gpt", "value": r"\boxed{5}"},
            ],
        },
        "Q?",
        "5",
        (),
        {},
    ),
    (
        "verl",
        {
            "data_source": "gsm8k",
            "prompt": [{"role": "user", "content": "Q?"}],
            "reward_model": {"style": "rule", "ground_truth": "4"},
        },
        "Q?",
        "4",
        (),
        {"data_source": "gsm8k"},
    ),
]
# name in the page, record, what the sentence says
REFUSED: list[tuple[str, dict[str, Any], str]] = [
    (
        "HumanEval",
        {
            "task_id": "HumanEval/0",
            "prompt": "def f():",
            "canonical_solution": "x",
            "test": "t",
            "entry_point": "f",
        },
        "a programming task (`entry_point`)",
    ),
    (
        "MBPP",
        {"task_id": 1, "text": "Write", "code": "x", "test_list": ["assert"]},
        "a programming task (`test_list`)",
    ),
    (
        "GPQA",
        {"Question": "Q", "Correct Answer": "x", "Incorrect Answer 1": "y"},
        "without an order",
    ),
    (
        "SQuAD",
        {"question": "Q", "context": "c", "answers": {"text": [], "answer_start": []}},
        "cannot be answered",
    ),
    (
        "DROP",
        {"question": "Q", "passage": "p", "answers_spans": {"spans": ["a", "b"]}},
        "2 parts of one answer",
    ),
    (
        "OlympiadBench",
        {"question": "Q", "solution": ["s"], "final_answer": ["$1$", "$2$"]},
        "2 parts of one answer",
    ),
    (
        "MAWPS",
        {"Question": "number0 and number1?", "Numbers": "3 4", "Answer": 7.0},
        "the place holder number0",
    ),
    (
        "MathQA",
        {"Problem": "P", "options": "a ) 38 , b ) 27", "correct": "a"},
        "`options` is a JSON string",
    ),
    ("HellaSwag", {"ctx": "c", "endings": ["x", "y"], "label": ""}, "`label` is empty"),
    (
        "alpaca",
        {"instruction": "Write a poem.", "output": "Roses are red, violets"},
        "neither #### nor \\boxed{}",
    ),
    (
        "OpenAI chat",
        {
            "messages": [
                {"role": "user", "content": "Q"},
                {"role": "assistant", "content": "It is four"},
            ]
        },
        "neither #### nor \\boxed{}",
    ),
    (
        "OpenAI chat",
        {
            "messages": [{"role": "user", "content": [{"type": "image_url", "image_url": "x"}]}],
            "answer": "1",
        },
        "parts of type image_url",
    ),
    (
        "OpenAI chat",
        {"messages": [{"role": "tool", "content": "x"}], "answer": "1"},
        "has the role 'tool'",
    ),
    (
        "ShareGPT",
        {"conversations": [{"from": "function", "value": "x"}], "answer": "1"},
        "has the role 'function'",
    ),
    (
        "SQuAD",
        {"version": "v2.0", "data": [{"paragraphs": []}]},
        "holds its records in the list `data`",
    ),
    (
        "TruthfulQA",
        {"question": "Q", "mc1_targets": {"choices": ["a"], "labels": [1]}},
        "no `answer`",
    ),
]


@pytest.mark.parametrize(("name", "record", "question", "answer", "accepted", "columns"), READ)
def test_shapes_that_are_read(
    tmp_path: Path, name: str, record: dict[str, Any], question: str, answer: str, accepted: tuple[str, ...],
    columns: dict[str, Any],
) -> None:  # fmt: skip
    (tmp_path / "p.jsonl").write_text(json.dumps(record) + "\n")
    (problem,) = read_problems(tmp_path / "p.jsonl").problems
    assert (problem.question, problem.answer, problem.accepted) == (question, answer, accepted)
    assert dict(problem.columns) == columns
    write_problems(tmp_path / "problems.jsonl", [problem])
    assert load_problems(tmp_path / "problems.jsonl") == [problem]
    (again,) = read_problems(tmp_path / "problems.jsonl").problems
    assert (again.id, again.question, again.answers) == (problem.id, question, problem.answers)
    assert dict(again.columns) == columns


@pytest.mark.parametrize(("name", "record", "says"), REFUSED)
def test_shapes_that_are_refused_say_why(name: str, record: dict[str, Any], says: str) -> None:
    with pytest.raises(RecordError) as caught:
        parse_record(record)
    assert says in str(caught.value) and "\n" not in str(caught.value)


def test_the_page_has_every_shape() -> None:
    page = PAGE.read_text(encoding="utf-8")
    assert [name for name, *_ in [*READ, *REFUSED] if name not in page] == []


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
    ({"question": "Q", "choices": ["x"], "answer": 0}, "holds 1 choices, expected 2 to 26"),
    ({"question": "Q", "choices": ["x"] * 27, "answer": 0}, "holds 27 choices"),
    ({"question": "Q", "choices": ["x", None], "answer": 0}, "`choices[1]` is a JSON null"),
    ({"question": "Q", "choices": {"text": ["x", "y"], "label": ["A", "A"]}, "answer": "A"}, "1 different labels"),
    ({"question": "Q", "choices": {"text": ["x", "y"], "label": ["A"]}, "answer": "A"}, "1 different labels"),
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
