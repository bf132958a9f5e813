"""`diffengine likelihood`: the canvases it asks on, its journal, its interruption, its messages."""

from __future__ import annotations

import csv
import json
import math
import sys
from pathlib import Path

import h5py
import numpy as np
import pytest
import torch

from diffengine.engine.cli import command_line as cli
from diffengine.engine.likelihood import method as method_module
from diffengine.engine.likelihood.cases import cases_after_prompt, cases_in_generation
from diffengine.engine.likelihood.journal import Journal
from diffengine.engine.likelihood.line import Line
from diffengine.engine.likelihood.method import Method, measure
from diffengine.engine.models.attention import packing_of
from diffengine.engine.problems.read import Problem
from diffengine.engine.runs.run import run
from diffengine.engine.store import open_run

SEQUENTIAL = Method("sequential")
PROBLEMS = [
    Problem(
        id="a",
        question="Ann has 5 rocks. Ann finds 3 rocks. How many rocks does Ann have now?",
        answer="8",
    ),
    Problem(id="b", question="2 + 2?", answer="1,204"),
    Problem(id="c", question="2 + 3?", answer=None),
    Problem(id="d", question="x" * 3000, answer="1"),
]


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("likelihood") / "run"
    run("generated:4", out=path, model="bundled")
    return path


def command(capsys: pytest.CaptureFixture[str], *arguments: str | Path) -> tuple[int, str, str]:
    before, sys.argv = sys.argv, ["diffengine", "likelihood", *map(str, arguments)]
    try:
        with pytest.raises(SystemExit) as over:
            cli.main()
    finally:
        sys.argv = before
    out, err = capsys.readouterr()
    return int(over.value.code or 0), out, err


def rows_of(path: Path) -> list[dict[str, str]]:
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def surest_first(model, canvas: list[int], positions: list[int], answer: list[int]) -> float:
    """The chain rule, one forward a token, written out."""
    ids, left, total = torch.tensor(canvas), dict(zip(positions, answer, strict=True)), 0.0
    ids[positions] = model.token_ids.mask
    while left:
        hidden = model.hidden(ids, torch.arange(len(ids)), packing_of([len(ids)], ids.device))
        logits = (hidden @ model.head_weight.T).double()[:, : model.n_candidates]
        logits[:, model.token_ids.mask] = -math.inf
        logp = logits.log_softmax(-1)
        at = max(left, key=lambda position: (float(logp[position].max()), -position))
        total += float(logp[at, left[at]])
        ids[at] = left.pop(at)
    return total


@torch.inference_mode()
def test_behind_the_prompt_it_is_the_chain_rule_of_the_answer(bundled_model) -> None:
    cases = list(cases_after_prompt(PROBLEMS, bundled_model, style="raw"))
    for case, problem in zip(cases[:2], PROBLEMS, strict=False):
        prompt = bundled_model.tokenizer.encode(
            f"{problem.question} Answer:", add_special_tokens=False
        )
        gold = bundled_model.tokenizer.encode(problem.answer, add_special_tokens=False)
        assert (list(case.canvas), list(case.positions)) == (
            prompt + gold, list(range(len(prompt), len(prompt) + len(gold)))
        )  # fmt: skip
        line = measure(bundled_model, case, SEQUENTIAL)
        expected = surest_first(bundled_model, prompt + gold, list(case.positions), gold)
        assert (
            line.nats == pytest.approx(expected, abs=1e-4)
            and math.isnan(line.stderr)
            and line.tokens == len(gold)
        )
    assert cases[2].skipped == "no gold answer" and "exceeds the model's" in cases[3].skipped
    assert math.isnan(measure(bundled_model, cases[2], Method("bound", draws=2)).nats)


@torch.inference_mode()
def test_in_the_generation_it_stands_where_the_answer_was_found(made: Path, bundled_model) -> None:
    stored = open_run(made)
    for case in cases_in_generation(stored, bundled_model):
        row = stored.row(case.problem_id)
        start, final = int(stored["answer_start"][row]), stored["token"][row, -1].tolist()
        gold = bundled_model.tokenizer.encode(stored.problems[row].answer, add_special_tokens=False)
        assert start >= 0 and list(case.canvas[-48:]) == final and len(case.canvas) > 48
        first = len(case.canvas) - 48 + start
        assert (
            case.positions == tuple(range(first, first + len(gold))) and list(case.answer) == gold
        )
        line = measure(bundled_model, case, SEQUENTIAL)
        assert line.nats == pytest.approx(surest_first(bundled_model, list(case.canvas), list(case.positions), gold),
                                          abs=1e-4)  # fmt: skip


@torch.inference_mode()
def test_the_posterior_is_the_share_of_the_gold_answers_likelihood(bundled_model) -> None:
    case = next(cases_after_prompt(PROBLEMS[:1], bundled_model, style="raw"))
    others = [
        tuple(bundled_model.tokenizer.encode(text, add_special_tokens=False)) for text in ("3", "9")
    ]
    line = measure(bundled_model, case, SEQUENTIAL, others)
    prompt = list(case.canvas[: case.positions[0]])
    answers, at = [list(answer) for answer in (case.answer, *others)], list(case.positions)
    nats = [surest_first(bundled_model, prompt + answer, at, answer) for answer in answers]
    expected = math.exp(nats[0]) / sum(math.exp(value) for value in nats)
    assert line.posterior == pytest.approx(expected, rel=1e-4) and line.distractors == 2
    assert line.nats == pytest.approx(nats[0], abs=1e-4)
    bound = measure(bundled_model, case, Method("bound", draws=4), [case.answer])
    assert (
        bound.posterior == 0.5
    )  # the same draws for all answers, so equal ones are equally probable


def test_distractors_from_the_command(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    arguments = (
        "generated:12",
        "--draws",
        "2",
        "--model",
        "bundled",
        "--distractors",
        "2",
        "--out",
        tmp_path,
    )
    assert command(capsys, *arguments, "--limit", "2")[0] == 0
    code, out, _ = command(capsys, *arguments)
    assert (
        code == 0
        and "mean posterior of the gold answer among its distractors" in out
        and "2 from before" in out
    )
    rows = rows_of(tmp_path / "bound-prompt.csv")
    held = [row for row in rows if int(row["distractors"])]
    assert len(rows) == 12 and held and all(0 <= float(row["posterior"]) <= 1 for row in held)
    with h5py.File(tmp_path / "bound-prompt.h5") as file:
        assert file["posterior"].attrs["units"] == "probability" and file.attrs["distractors"] == 2
        assert file["distractors"][...].tolist() == [int(row["distractors"]) for row in rows]


def test_draws_do_not_depend_on_the_company(bundled_model) -> None:
    first, second = list(cases_after_prompt(PROBLEMS[:2], bundled_model, style="raw"))
    alone = next(cases_after_prompt(PROBLEMS[1:2], bundled_model, style="raw"))
    one, other = (
        measure(bundled_model, case, Method("bound", draws=8, seed=1)) for case in (second, alone)
    )
    assert (one.nats, one.stderr) == (other.nats, other.stderr) and one.stderr > 0
    assert measure(bundled_model, second, Method("bound", draws=8, seed=2)).nats != one.nats


def test_interrupted_and_resumed_it_gives_the_same_file(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    arguments = ("generated:5", "--draws", "4", "--model", "bundled")
    assert command(capsys, *arguments, "--out", tmp_path / "calm")[0] == 0
    real, left = method_module.measure, [2]

    def interrupted(*given, **more):
        if not left[0]:
            raise KeyboardInterrupt
        left[0] -= 1
        return real(*given, **more)

    with monkeypatch.context() as patch:
        patch.setattr(method_module, "measure", interrupted)
        code, _, err = command(capsys, *arguments, "--out", tmp_path / "broken")
    assert code == 130 and "the same command goes on" in err
    journal = tmp_path / "broken" / "bound-prompt.csv"
    assert len(rows_of(journal)) == 2 and not journal.with_suffix(".h5").exists()
    with journal.open("a") as file:
        file.write("p-cut short,3")  # as a crash in the middle of a line leaves it
    code, out, _ = command(capsys, *arguments, "--out", tmp_path / "broken", "--json")
    facts = json.loads(out)
    assert (code, facts["done"], facts["resumed"], facts["measured"]) == (0, 3, 2, 5)
    assert journal.read_bytes() == (tmp_path / "calm" / "bound-prompt.csv").read_bytes()


def test_the_hdf5_file_says_what_its_numbers_are(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    source = tmp_path / "problems.jsonl"
    source.write_text(
        '{"question": "2 + 2?", "answer": "4"}\n{"question": "3 + 2?", "answer": null}\n'
    )
    code, out, _ = command(
        capsys, source, "--draws", "6", "--model", "bundled", "--out", tmp_path / "out"
    )
    assert code == 0 and "1 measured, 1 skipped" in out and "nats (n = 1, no interval), " in out
    assert "skipped: 1: no gold answer" in out
    rows = rows_of(tmp_path / "out" / "bound-prompt.csv")
    assert rows[1]["skipped"] == "no gold answer" and rows[1]["log_likelihood_nats"] == ""
    with h5py.File(tmp_path / "out" / "bound-prompt.h5") as file:
        value = file["log_likelihood"]
        assert value.attrs["units"] == file["standard_error"].attrs["units"] == "nats"
        np.testing.assert_array_equal(value[...], [float(rows[0]["log_likelihood_nats"]), np.nan])
        assert file["skipped"].asstr()[...].tolist() == ["", "no gold answer"]
        assert (file.attrs["kind"], file.attrs["draws"], file.attrs["context"]) == (
            "bound",
            6,
            "prompt",
        )


def test_a_run_is_read_and_left_as_it_is(made: Path, capsys: pytest.CaptureFixture[str]) -> None:
    from diffengine.engine.store import verify_run

    code, out, _ = command(capsys, made, "--kind", "sequential", "--limit", "2")
    assert code == 0 and "2 measured" in out and verify_run(made).ok
    assert command(capsys, made, "--kind", "sequential")[0] == 0  # more problems of the same
    assert len(rows_of(made / "likelihood" / "sequential-generation.csv")) == 4


def test_behind_the_prompt_stand_the_words_of_the_run(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], bundled_model
) -> None:
    words = "Think. {question}"
    path = run("generated:1", out=tmp_path / "run", model="bundled", prompt_template=words).path
    arguments = ("--context", "prompt", "--kind", "sequential")
    assert command(capsys, path, *arguments)[0] == 0
    (row,) = rows_of(path / "likelihood" / "sequential-prompt.csv")

    problems = open_run(path).problems
    (case,) = cases_after_prompt(problems, bundled_model, style="chat", template=words)
    expected = measure(bundled_model, case, SEQUENTIAL)
    assert float(row["log_likelihood_nats"]) == pytest.approx(expected.nats, abs=1e-4)
    (plain,) = cases_after_prompt(problems, bundled_model, style="chat")
    assert measure(bundled_model, plain, SEQUENTIAL).nats != pytest.approx(expected.nats, abs=1e-3)


def test_messages(
    made: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], random_checkpoint
) -> None:
    code, _, err = command(capsys, "samples", "--context", "generation")
    assert code == 2 and "needs a run" in err
    assert command(capsys, tmp_path / "nothing.jsonl")[0] == 1
    code, _, err = command(capsys, made, "--model", random_checkpoint())
    assert code == 2 and "is not the model of" in err
    code, _, err = command(capsys, made, "--prompt-style", "raw")
    assert code == 2 and "follows a chat prompt" in err
    there = tmp_path / "out"
    assert (
        command(capsys, "generated:1", "--draws", "2", "--model", "bundled", "--out", there)[0] == 0
    )
    code, _, err = command(
        capsys, "generated:1", "--draws", "3", "--model", "bundled", "--out", there
    )
    assert code == 2 and "draws: 2 there, 3 now" in err


def test_a_foreign_file_is_not_taken_for_a_journal(tmp_path: Path) -> None:
    (tmp_path / "x.csv").write_text("a,b\n1,2\n")
    with pytest.raises(ValueError, match="not a file of likelihoods"):
        Journal(tmp_path, "x", {"kind": "bound"})


def test_a_reason_with_commas_and_lines_survives(tmp_path: Path) -> None:
    Journal(tmp_path, "y", {}).add(
        Line("p", 3, 0, math.nan, math.nan, 0, math.nan, 'too "long",\nmuch')
    )
    (line,) = Journal(tmp_path, "y", {}).lines
    assert (line.problem_id, line.place, line.skipped) == (
        "p",
        3,
        'too "long", much',
    ) and math.isnan(line.nats)


def test_a_damaged_line_is_measured_again(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    journal = Journal(tmp_path, "z", {})
    for number in range(3):
        journal.add(Line(f"p{number}", number, 2, -1.25, 0.5, 0, math.nan, ""))
    rows = journal.path.read_text().splitlines()
    rows[2] = rows[2].replace("-1.25", "-1.35")
    rows[3] = rows[3].rpartition(",")[0]  # as earlier versions wrote it, without a checksum
    journal.path.write_text("\n".join(rows) + "\n")
    lines = Journal(tmp_path, "z", {}).lines
    assert [line.problem_id for line in lines] == ["p0", "p2"]
    assert "1 damaged line measured again" in caplog.text
