"""A run on problems whose gold answers are expressions, MATH style, graded to the end and
analysed."""

from __future__ import annotations

import json
import logging
from pathlib import Path

import pytest

from diffengine.analysis.analyze import analyze_run
from diffengine.analysis.show.summary import summarise
from diffengine.engine.answers import symbolic
from diffengine.engine.problems.sources import generated
from diffengine.engine.runs.run import run
from diffengine.engine.store import open_run

WRONG_GOLD = r"\frac{\sqrt{2}}{7}"


def math_style(path: Path) -> list[dict[str, str]]:
    """Six word problems as MATH records: the gold stands in the solution's box, times and over a
    root of two."""
    records = []
    for number, record in generated("generated:6"):
        assert isinstance(record, dict)
        gold = rf"\frac{{{record['answer']}\sqrt{{2}}}}{{\sqrt{{2}}}}" if number < 6 else WRONG_GOLD
        records.append(
            {"problem": record["question"], "solution": rf"Therefore it is $\boxed{{{gold}}}$."}
        )
    path.write_text("".join(json.dumps(record) + "\n" for record in records))
    return records


def test_symbolic_gold_is_graded_by_the_worker(tmp_path: Path) -> None:
    """The model writes 60, gold 60 times and over the root of two: nothing but Math-Verify finds
    them equal."""
    assert symbolic.importlib.util.find_spec("math_verify") is not None, (
        "the extra `test` brings math-verify"
    )
    math_style(tmp_path / "math.jsonl")
    run(tmp_path / "math.jsonl", out=tmp_path / "run", model="bundled")
    stored = open_run(tmp_path / "run")
    assert [problem.answer for problem in stored.problems][5] == WRONG_GOLD
    rules, verdicts = stored["grade_rule"][...].tolist(), stored["verdict"][...].tolist()
    numbers = [str(record["answer"]) for _, record in generated("generated:6")]  # type: ignore[index]
    extracted = stored["extracted_answer"][...].tolist()
    assert all(rule.endswith(":math_verify") for rule in rules)
    assert verdicts == [int(found == number and place < 5)
                        for place, (found, number) in enumerate(zip(extracted, numbers, strict=True))]  # fmt: skip
    assert sum(verdicts) >= 4
    analysis = analyze_run(stored)
    assert analysis.info["lm_eval"] == {"strict": 0, "flexible": 0, "n": 6}
    text = summarise(analysis)
    assert "hashes:math_verify 6" in text and "strict 0 of 6" in text and "flexible 0 of 6" in text
    assert not any("compared as text" in warning for warning in analysis.info["warnings"])


def test_without_the_package_the_run_and_its_summary_say_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    math_style(tmp_path / "math.jsonl")
    monkeypatch.setattr(symbolic.importlib.util, "find_spec", lambda name: None)
    with caplog.at_level(logging.WARNING):
        run(tmp_path / "math.jsonl", out=tmp_path / "run", model="bundled")
    assert caplog.text.count("Math-Verify is not installed: 6 of 6 gold answers") == 1
    assert "pip install math-verify" in caplog.text
    stored = open_run(tmp_path / "run")
    assert stored["verdict"][...].tolist() == [0] * 6
    assert all(
        rule.endswith("text,math_verify_absent") for rule in stored["grade_rule"][...].tolist()
    )
    analysis = analyze_run(stored)
    (warning,) = [one for one in analysis.info["warnings"] if "compared as text" in one]
    assert warning.startswith("6 answers") and "extra `math`" in warning


def test_a_text_without_an_answer_is_a_class_of_its_own(tmp_path: Path) -> None:
    """Eight tokens hold no answer yet; a symbolic gold is never met by the last number of the
    working."""
    math_style(tmp_path / "math.jsonl")
    run(
        tmp_path / "math.jsonl",
        out=tmp_path / "run",
        model="bundled",
        steps=8,
        gen_length=8,
        block_length=8,
    )
    stored = open_run(tmp_path / "run")
    assert (
        stored["verdict"][...].tolist() == [2] * 6
        and stored["answer_start"][...].tolist() == [-1] * 6
    )
    analysis = analyze_run(stored)
    assert (
        analysis.info["n_correct"],
        analysis.info["n_wrong"],
        analysis.info["n_unextracted"],
    ) == (0, 0, 6)
    text = summarise(analysis)
    assert "0 correct, 0 wrong, 6 without an extracted answer" in text and "accuracy 0.0 %" in text
