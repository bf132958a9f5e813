"""Numbers that two conventions read differently: a verdict of their own, both ways, said before and
after the run."""

from __future__ import annotations

import json
import logging
import random
from fractions import Fraction
from pathlib import Path

import pytest

from diffengine.analysis.analyze import analyze_run
from diffengine.analysis.show.summary import summarise
from diffengine.engine.answers import symbolic
from diffengine.engine.answers.ambiguous import ambiguous_numbers, readings
from diffengine.engine.answers.gold import gold_warnings
from diffengine.engine.answers.grade import grade
from diffengine.engine.answers.numbers import numbers, parse_value
from diffengine.engine.problems.sources import generated
from diffengine.engine.runs.run import run
from diffengine.engine.store import open_run
from diffengine.engine.store.check.verify import verify_run

THIN, NARROW = "\u2009", "\u202f"

READINGS = [
    ("12,5", ["12.5", "125"]), ("-12,5", ["-12.5", "-125"]), ("$12,50", ["12.5", "1250"]),
    ("0,333", ["0.333", "333"]),
    ("1.234,5", ["1234.5", "1.2345", "12345"]), (f"1{THIN}234,5", ["1234.5", "12345"]),
    ("1.234.567", ["1234567"]),
    ("1'234,5", ["1234.5", "12345"]), ("12,34,567", ["1234567"]), ("1234,567", ["1234.567", "1234567"]),
    ("1 234", ["1234", "1"]), ("12,5 kg", ["12.5", "125"]), (r"12,5\text{ cm}", ["12.5", "125"]),
    ("x = 12,5", ["12.5", "125"]),
    ("12,50 €", ["12.5", "1250"]), (f"1{NARROW}234{NARROW}567,25", ["1234567.25", "123456725"]),
]  # fmt: skip

PLAIN = [
    "1,234",
    "1.234",
    "12.5",
    "1,234,567.8",
    "5, 6",
    "(3,4)",
    "[3,4]",
    "1,2,3",
    "1.2.3",
    "x",
    "12:30",
    "",
    "3,x",
    "1/2",
]


@pytest.mark.parametrize("text, values", READINGS)
def test_the_values_that_a_number_may_have(text, values):
    assert readings(text) == {Fraction(value) for value in values}
    assert parse_value(text) is None


@pytest.mark.parametrize("text", PLAIN)
def test_what_is_plain_or_a_list_is_not_ambiguous(text):
    assert readings(text) == frozenset() and ambiguous_numbers(text) == []


@pytest.mark.parametrize("text, values", READINGS)
def test_right_in_one_reading_is_a_verdict_of_its_own_both_ways(text, values):
    for value in values:
        for answer, gold in ((text, value), (value, text)):
            found = grade(rf"\boxed{{{answer}}}", gold)
            if (
                "".join(answer.split()) == gold or "".join(gold.split()) == answer
            ):  # the same but for white space
                assert found.verdict == "correct"
            else:
                assert (found.verdict, found.rule) == ("ambiguous", "boxed:ambiguous_number")
    assert (
        grade(rf"\boxed{{{text}}}", "77").verdict == grade(r"\boxed{77}", text).verdict == "wrong"
    )
    assert grade(rf"\boxed{{{text}}}", text).verdict == "correct"


@pytest.mark.parametrize("text, gold, verdict, extracted", [
    ("#### 12,5", "12.5", "ambiguous", "12,5"), ("The answer is 12,5.", "12.5", "ambiguous", "12,5"),
    ("#### 1 234", "1", "ambiguous", "1 234"), ("#### 1 234 eggs", "1234", "correct", "1 234"),
    ("so he has 7 apples and 12,5 pears", "7", "wrong", "12,5"), ("12,5 pears, so 8", "8", "correct", "8"),
    ("x=3 at the point (3,4)", "3", "correct", "3"), ("it costs €12,50", "12.5", "ambiguous", "12,50"),
    ("#### 6 or 5 100", "6", "correct", "6"), ("#### 12,5", None, "no_gold_answer", "12,5"),
])  # fmt: skip
def test_ambiguous_numbers_are_found_in_running_text(text, gold, verdict, extracted):
    found = grade(text, gold)
    assert (found.verdict, found.extracted) == (verdict, extracted)
    assert text[found.start : found.end] == extracted


def test_no_spelling_of_the_other_convention_is_read_silently():
    """Random values as half the world writes them: never a plain number but where the field's own
    data write so."""
    rng = random.Random(10)
    for _ in range(3000):
        whole, decimals = (
            str(rng.randrange(10 ** rng.randrange(1, 10))),
            str(rng.randrange(10 ** rng.randrange(1, 5))),
        )
        head = len(whole) % 3 or 3
        groups = [whole[:head], *(whole[at : at + 3] for at in range(head, len(whole), 3))]
        written = rng.choice([".", "'", THIN, NARROW, ""]).join(groups) + "," + decimals
        field = (
            len(decimals) == 3 and len(whole) <= 3 and whole != "0"
        )  # 12,345 is twelve thousand there
        if field:
            assert parse_value(written).value == int(whole + decimals)
        else:
            assert parse_value(written) is None and list(numbers(f"it is {written}")) == []
            assert Fraction(f"{whole}.{decimals}") in readings(written), written


def test_before_a_run_it_says_how_many_gold_answers_it_cannot_judge(monkeypatch):
    golds = [
        "5",
        r"\frac12",
        r"2\sqrt{3}",
        "x+1",
        "B",
        "(A)",
        "blue",
        r"\text{the blue one}",
        "12,5",
        None,
        "10^3",
        "x",
    ]
    (about,) = gold_warnings(golds)
    assert about.startswith("1 of 11 gold answers (such as '12,5')")
    monkeypatch.setattr(symbolic.importlib.util, "find_spec", lambda name: None)
    missing, _ = gold_warnings(golds)
    assert (
        "3 of 11 gold answers (such as '2\\\\sqrt{3}')" in missing
        and "pip install math-verify" in missing
    )
    assert gold_warnings(["5", None, r"\frac12", "B"]) == []


def test_a_run_with_ambiguous_gold_answers_says_so_and_stays_whole(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
):
    records = [record for _, record in generated("generated:6")]
    lines = [json.dumps({"question": r["question"], "answer": f"{r['answer']},0"}) for r in records]
    (tmp_path / "problems.jsonl").write_text("\n".join(lines))
    with caplog.at_level(logging.WARNING):
        run(tmp_path / "problems.jsonl", out=tmp_path / "run", model="bundled")
    assert caplog.text.count("6 of 6 gold answers") == 1
    stored = open_run(tmp_path / "run")
    verdicts = stored["verdict"][...].tolist()
    assert set(verdicts) <= {0, 4} and verdicts.count(4) >= 4
    assert verify_run(tmp_path / "run").ok
    analysis = analyze_run(stored)
    count = verdicts.count(4)
    assert analysis.info["n_ambiguous"] == count and float(analysis["accuracy"].values) == 0.0
    begins = f"{count} problems: the answer is a number that two"
    assert any(warning.startswith(begins) for warning in analysis.info["warnings"])
    assert f"{count} with a number that can be read two ways" in summarise(analysis)
