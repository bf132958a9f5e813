"""Every form of a record, and every way in which one can be bad, read through a file as a run reads
it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from diffengine.engine.answers.boxed import last_boxed
from diffengine.engine.problems.read import Problem, ProblemError, read_problems

ONE = {"question": "2+2?", "answer": "4"}


def read_one(tmp_path: Path, record: object) -> Problem:
    (tmp_path / "p.jsonl").write_text(json.dumps(record) + "\n")
    return read_problems(tmp_path / "p.jsonl").problems[0]


def reason(tmp_path: Path, line: bytes) -> str:
    """The reason given for a bad second line."""
    path = tmp_path / "p.jsonl"
    path.write_bytes(json.dumps(ONE).encode() + b"\n" + line + b"\n")
    with pytest.raises(ProblemError) as caught:
        read_problems(path)
    (bad,) = caught.value.bad_lines
    assert (bad.source, bad.line) == (str(path), 2)
    assert f"{path}:2: {bad.reason}" in str(caught.value)
    return bad.reason


@pytest.mark.parametrize(
    "record, question, answer, solution",
    [
        (ONE, "2+2?", "4", None),
        ({"question": " Q \n", "answer": " 4 "}, " Q \n", "4", None),
        ({"question": "Q", "answer": "2+2=4\n#### 4"}, "Q", "4", "2+2=4\n#### 4"),
        (
            {"question": "Q", "answer": "#### 3 no\n#### 2,125 "},
            "Q",
            "2,125",
            "#### 3 no\n#### 2,125 ",
        ),
        ({"question": "Q", "answer": "4", "solution": "2+2=4"}, "Q", "4", "2+2=4"),
        (
            {"problem": "P", "solution": r"so \boxed{4}", "answer": "four"},
            "P",
            "four",
            r"so \boxed{4}",
        ),
        (
            {"problem": "P", "solution": r"\boxed{1} or \boxed{\frac{1}{2}}"},
            "P",
            r"\frac{1}{2}",
            r"\boxed{1} or \boxed{\frac{1}{2}}",
        ),
        ({"problem": "P", "solution": r"\boxed{7}", "answer": None}, "P", "7", r"\boxed{7}"),
        ({"problem": "P", "solution": "#### 9"}, "P", "9", "#### 9"),
        ({"question": "Q", "answer": None}, "Q", None, None),
        ({"question": "Q", "answer": 72}, "Q", "72", None),
        ({"question": "Q", "answer": 72.0}, "Q", "72", None),
        ({"question": "Q", "answer": -0.5}, "Q", "-0.5", None),
        ({"question": "Q", "answer": 10**40}, "Q", str(10**40), None),
    ],
)
def test_forms(tmp_path, record, question, answer, solution):
    problem = read_one(tmp_path, record)
    assert (problem.question, problem.answer, problem.solution) == (question, answer, solution)
    assert (problem.messages, problem.source, problem.line) == (None, str(tmp_path / "p.jsonl"), 1)


def test_chat_keeps_the_conversation_up_to_the_last_user_message(tmp_path):
    turns = [
        {"role": "system", "content": "Be brief."},
        {"role": "user", "content": "Hi"},
        {"role": "assistant", "content": "Hello"},
        {"role": "user", "content": "2+2?"},
    ]
    problem = read_one(tmp_path, {"messages": turns, "answer": "4"})
    assert (problem.question, problem.answer, problem.solution) == ("2+2?", "4", None)
    assert problem.messages == tuple(turns)
    reply = {"role": "assistant", "content": "It is #### 4"}
    problem = read_one(tmp_path, {"messages": [*turns, reply]})
    assert (problem.messages, problem.answer, problem.solution) == (
        tuple(turns),
        "4",
        "It is #### 4",
    )


@pytest.mark.parametrize(
    "line, expected",
    [
        (b'{"question": "Q", "answer"', "not JSON: Expecting ':' delimiter at column 27"),
        (b'"just a string"', "a JSON string, expected an object"),
        (b"17", "a JSON number, expected an object"),
        (b"true", "a JSON boolean, expected an object"),
        (b"null", "a JSON null, expected an object"),
        (b"[1, 2]", "a JSON list, expected an object"),
        (b'{"question": "caf\xe9", "answer": "1"}', "byte 18 of the line (0xe9) is not UTF-8"),
        (
            b'{"text": "Q", "answer": "1"}',
            "no `question` (nor `problem`, nor `messages`); its keys are `text`, `answer`",
        ),
        (b"{}", "its keys are none"),
        (
            b'{"question": "Q", "anwser": "1"}',
            "no `answer`; give null where there is no gold answer",
        ),
        (b'{"question": "  ", "answer": "1"}', "`question` is empty"),
        (b'{"question": 3, "answer": "1"}', "`question` is a JSON number, expected a string"),
        (b'{"question": "Q", "answer": ""}', "`answer` is empty"),
        (b'{"question": "Q", "answer": []}', "`answer` holds no answer"),
        (b'{"question": "Q", "answer": ["1", true]}', "`answer[1]` is a JSON boolean"),
        (b'{"question": "Q", "answer": ["1", ["2"]]}', "`answer[1]` is a JSON list"),
        (b'{"question": "Q", "answer": ["1", null]}', "`answer[1]` is a JSON null"),
        (b'{"question": "Q", "answer": {"worth": 1}}', "`answer` is a JSON object without `value`"),
        (b'{"question": "Q", "answer": {"value": {"value": 1}}}', "`answer[0]` is a JSON object"),
        (b'{"question": "Q", "answer": NaN}', "`answer` is nan, expected a finite number"),
        (b'{"question": "Q", "answer": 1e999}', "`answer` is inf, expected a finite number"),
        (b'{"question": "Q", "answer": "so #### "}', "nothing after the last #### of `answer`"),
        (
            b'{"question": "\\ud83d", "answer": "1"}',
            "`question` holds half a surrogate pair (U+D83D)",
        ),
        (b'{"problem": "P", "solution": "no box"}', "no `answer`"),
        (b'{"problem": "P", "solution": 5, "answer": "1"}', "`solution` is a JSON number"),
        (b'{"messages": "Q", "answer": "1"}', "`messages` is a JSON string, expected a list"),
        (b'{"messages": [], "answer": "1"}', 'no message with the role "user"'),
        (
            b'{"messages": [{"role": "bot", "content": "x"}], "answer": "1"}',
            "message 1 has the role 'bot'",
        ),
        (
            b'{"messages": [{"role": "user", "content": [1]}], "answer": "1"}',
            "`messages[0].content` is a JSON list",
        ),
        (b'{"messages": ["Q"], "answer": "1"}', "message 1 is a JSON string"),
        (
            b'{"question": "Q", "answer": "1", "id": 1.5}',
            "`id` is a JSON number, expected a string or a whole number",
        ),
        (b'{"question": "Q", "answer": "1", "id": true}', "`id` is a JSON boolean"),
        (
            b'{"question": "Q", "answer": "1", "id": "a\\u0000b"}',
            "holds a character that cannot be printed",
        ),
        (b"[" * 100_000, "not JSON"),
        (b'{"question": "Q", "answer": ' + b"9" * 5000 + b"}", "not JSON that can be read"),
    ],
)
def test_bad_lines_say_why(tmp_path, line, expected):
    assert expected in reason(tmp_path, line)


@pytest.mark.parametrize(
    "text, content",
    [
        (r"\boxed{5}", "5"),
        (r"\boxed{\frac{1}{2}} end", r"\frac{1}{2}"),
        (r"\boxed{1}\boxed{2}", "2"),
        (r"\boxed{1} then \boxed{2", "1"),
        (r"\fbox {x}", "x"),
        (r"\boxed{\{1,2\}}", r"\{1,2\}"),
        (r"\boxed{}", ""),
        (r"\boxed 5", None),
        ("none", None),
        (r"\boxed", None),
        (r"\boxed{a \boxed{b} c}", "b"),
    ],
)
def test_last_boxed(text, content):
    span = last_boxed(text)
    assert (None if span is None else text[slice(*span)]) == content
