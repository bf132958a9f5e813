"""The worker of symbolic grading: outcomes, a hang, a crash, the package missing, and what grading
makes of them."""

from __future__ import annotations

import os
import sys
import threading

import pytest

from diffengine.engine.answers import grade as grading
from diffengine.engine.answers import symbolic
from diffengine.engine.answers.symbolic import SymbolicWorker

ECHO = (
    "import sys, json\nfor line in sys.stdin:\n gold, answer = json.loads(line)\n print('same' "
    "if gold == answer else 'different', flush=True)"
)  # noqa: E501
HANG = "import sys, time\nfor line in sys.stdin: time.sleep(60)"


def worker(code: str, *, timeout: float = 20.0) -> SymbolicWorker:
    return SymbolicWorker(timeout=timeout, command=[sys.executable, "-c", code])


def test_one_process_answers_many_questions():
    asked = worker(ECHO)
    assert [asked.ask("x", "x"), asked.ask("x", "y"), asked.ask("é√", "é√")] == [
        "same",
        "different",
        "same",
    ]
    asked.close()


def test_a_hanging_worker_is_killed(monkeypatch):
    monkeypatch.setattr(symbolic, "START_SECONDS", 0.0)
    asked = worker(HANG, timeout=0.2)
    assert asked.ask("x", "x") == "math_verify_timeout"
    assert asked._process is None


def test_a_dying_worker_is_a_failure_and_the_next_question_gets_a_new_one():
    asked = worker("import sys; sys.stdin.readline()")
    assert [asked.ask("x", "x"), asked.ask("x", "x")] == [
        "math_verify_failed",
        "math_verify_failed",
    ]


def test_a_math_verify_that_does_not_import_is_said_once_and_the_worker_stays(
    planted, monkeypatch, tmp_path, caplog
):
    """Each question would otherwise start a process and import sympy in vain."""
    planted(math_verify="raise AttributeError('no attribute row_stack')")
    monkeypatch.setenv("PYTHONPATH", f"{tmp_path / 'planted'}:{os.environ['PYTHONPATH']}")
    asked = SymbolicWorker()
    symbolic._warn_broken.cache_clear()
    assert asked.ask("x", "x") == "math_verify_absent"
    process = asked._process
    assert asked.ask("x", "y") == "math_verify_absent" and asked._process is process is not None
    asked.close()
    assert (
        caplog.text.count("installed but does not import (AttributeError: no attribute row_stack)")
        == 1
    )


def test_works_outside_the_main_thread():
    asked, found = worker(ECHO), []
    thread = threading.Thread(target=lambda: found.append(asked.ask("x", "x")))
    thread.start()
    thread.join()
    asked.close()
    assert found == ["same"]


@pytest.mark.parametrize(
    "outcome, verdict, rule",
    [
        ("same", "correct", "boxed:math_verify"),
        ("different", "wrong", "boxed:math_verify"),
        ("math_verify_absent", "wrong", "boxed:text,math_verify_absent"),
        ("math_verify_timeout", "wrong", "boxed:text,math_verify_timeout"),
    ],
)
def test_what_grading_makes_of_an_outcome(monkeypatch, outcome, verdict, rule):
    monkeypatch.setattr(grading, "same_expression", lambda gold, answer: outcome)
    found = grading.grade(r"so \boxed{2\sqrt{3}}", r"\sqrt{12}")
    assert (found.verdict, found.rule) == (verdict, rule)


def test_what_is_decided_exactly_is_never_asked(monkeypatch):
    def never(gold: str, answer: str) -> str:
        raise AssertionError("asked")

    monkeypatch.setattr(grading, "same_expression", never)
    for text, gold in ((r"\boxed{5}", "5"), (r"\boxed{5}", "6"), (r"\boxed{x+1}", "x + 1"), ("The answer is B", "A"),
                       ("nothing", r"\sqrt{2}")):  # fmt: skip
        grading.grade(text, gold)


def test_the_package_missing_is_said(monkeypatch):
    monkeypatch.setattr(symbolic.importlib.util, "find_spec", lambda name: None)
    assert symbolic.same_expression("x", "y") == "math_verify_absent"


def test_math_verify_itself_where_it_is_installed():
    """The exact cascade cannot know these; without the package the outcome is the same for all and
    says so."""
    pairs = [
        (r"\sqrt{12}", r"2\sqrt{3}"),
        (r"\frac{x}{2}", "x/2"),
        ("x+1", "x+2"),
        (r"\{1,2\}", r"\{2,1\}"),
    ]
    found = [symbolic.same_expression(gold, answer) for gold, answer in pairs]
    if symbolic.importlib.util.find_spec("math_verify") is None:
        assert set(found) == {"math_verify_absent"}
    else:
        assert found == ["same", "same", "different", "same"]
