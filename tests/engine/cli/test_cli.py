"""The command line as a user meets it: messages, exit codes, files; never a traceback for something
they can mend."""

from __future__ import annotations

import io
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import click
import pytest

from diffengine.engine.cli import command_line as cli
from diffengine.engine.cli import progress as console
from diffengine.engine.problems.normal_form import write_problems
from diffengine.engine.problems.read import Problem, read_problems
from diffengine.engine.runs.run import Progress
from diffengine.engine.store import open_run

SHORT = ["--steps", "8", "--gen-length", "8", "--block-length", "4"]


def call(*arguments: str | Path, cwd: Path | None = None) -> subprocess.CompletedProcess[str]:
    """`diffengine ...` in a process of its own."""
    command = [sys.executable, "-P", "-m", "diffengine", *map(str, arguments)]
    return subprocess.run(
        command, cwd=cwd, capture_output=True, text=True, stdin=subprocess.DEVNULL, timeout=300
    )


def in_process(capsys: pytest.CaptureFixture[str], *arguments: str | Path) -> tuple[int, str, str]:
    """The same in this process, which has torch loaded already: exit code, stdout, stderr."""
    before, handler, sys.argv = (
        sys.argv,
        signal.getsignal(signal.SIGTERM),
        ["diffengine", *map(str, arguments)],
    )
    try:
        with pytest.raises(SystemExit) as over:
            cli.main()
    finally:
        sys.argv = before
        signal.signal(signal.SIGTERM, handler)
    out, err = capsys.readouterr()
    return int(over.value.code or 0), out, err


def test_help_and_version_load_nothing_heavy() -> None:
    code = (
        "import sys; from diffengine.engine import cli; sys.argv = ['diffengine', '--help']\n"
        "try: cli.main()\nexcept SystemExit: pass\n"
        "heavy = {'torch', 'numpy', 'h5py', 'transformers', 'matplotlib', 'scipy'} & "
        "set(sys.modules)\n"
        "assert not heavy, heavy"
    )
    done = subprocess.run(
        [sys.executable, "-P", "-c", code], capture_output=True, text=True, timeout=60
    )
    assert done.returncode == 0, done.stderr
    for command in (
        "run",
        "estimate",
        "analyze",
        "report",
        "inspect",
        "verify",
        "export",
        "list",
        "doctor",
    ):
        assert f"\n  {command} " in done.stdout
    assert call("--version").stdout.startswith("diffengine ")


@pytest.mark.parametrize("command", list(cli.group.list_commands(click.Context(cli.group))))
def test_every_command_explains_itself(capsys: pytest.CaptureFixture[str], command: str) -> None:
    code, out, _ = in_process(capsys, command, "--help")
    assert code == 0
    assert out.startswith("Usage: diffengine")


def test_the_whole_way(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "run"
    code, text, _ = in_process(
        capsys, "run", "--problems", "samples", "--problems", "generated:4", "--out", out
    )
    assert code == 0
    assert "14 problems from samples + generated:4" in text.splitlines()[0]
    code, text, _ = in_process(
        capsys, "run", "--problems", "samples", "--problems", "generated:4", "--out", out, "--json"
    )
    assert json.loads(text) == {"run": str(out), "done": 0, "resumed": 14, "failed": {}}
    assert in_process(capsys, "analyze", out, "--plots", "all")[0] == 0
    assert in_process(capsys, "report", out)[0] == 0
    for name in (
        "analysis.h5",
        "comprehensive_dashboard.png",
        "analysis_summary.txt",
        "comprehensive_analysis_results.pt",
        "report.html",
        "tokens.json",
    ):
        assert (out / name).stat().st_size > 500, name
    assert any((out / "plots").glob("*.png"))
    code, text, _ = in_process(capsys, "verify", out)
    assert (code, "whole; 1 shard, 14 of 14 problems" in text) == (0, True)
    code, text, _ = in_process(capsys, "inspect", out, "--json")
    assert json.loads(text)["stored"] == 14
    code, _, err = in_process(capsys, "export", out)
    assert code == 1
    assert "--save-logits" in err
    shard = next((out / "shards").glob("*.h5"))
    content = bytearray(shard.read_bytes())
    content[len(content) // 2] ^= 1
    shard.write_bytes(content)
    code, text, _ = in_process(capsys, "verify", out)
    assert code == 1
    assert shard.name in text
    assert in_process(capsys, "verify", out, "--repair")[0] == 1
    code, text, _ = in_process(
        capsys, "run", "--problems", "samples", "--problems", "generated:4", "--out", out, "--json"
    )
    assert json.loads(text)["done"] == 14
    assert in_process(capsys, "verify", out)[0] == 0


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (["run", "--problems", "missing.jsonl"], 1, "missing.jsonl"),
        (["run", "--problems", "."], 1, "directory"),
        (["run", "--problems", "empty.jsonl"], 1, "empty.jsonl"),
        (["run", "--problems", "bad.jsonl"], 1, "bad.jsonl:2"),
        (["run", "--model", "nowhere"], 1, "nowhere: no such directory"),
        (
            ["run", "--block-length", "7"],
            2,
            "block_length 7 does not divide gen_length 48; use 6 or 8",
        ),
        (["run", "--steps", "0"], 2, "steps is 0"),
        (["run", "--steps", "many"], 2, "'many' is not a valid integer"),
        (["run", "--policy", "lladaa"], 2, "Did you mean 'llada'?"),
        (["run", "--limit", "-1"], 1, "-1"),
        (["run", "--ids", "nobody"], 1, "nobody"),
        (["run", "--gpus", "4"], 2, "--gpus 4: this machine has"),
        (
            ["run", "--gpus", "2", "--workers", "2"],
            2,
            "give one; --gpus N is one worker on each GPU",
        ),
        (["run", "--cluster", "auto"], 2, "say how many devices"),
        (["run", "--workers", "0"], 2, "--workers"),
        (["run", "--out", "empty.jsonl"], 2, "is a file"),
        (["run", "--device", "tpu"], 2, "tpu"),
        (["analyze", "nowhere"], 1, "nowhere"),
        (["verify", "nowhere"], 1, "nowhere"),
        (["inspect", "."], 1, "run"),
        (["report", "nowhere"], 1, "nowhere"),
        (["export", "nowhere"], 1, "nowhere"),
        (["analyse", "x"], 2, "Did you mean 'analyze'?"),
        (["insepct", "x"], 2, "Did you mean 'inspect'?"),
        (["--config", "bad.toml", "run"], 2, "no setting stepps"),
        (["--config", "none.toml", "run"], 2, "none.toml"),
    ],
)
def test_what_a_user_can_mend_is_one_message(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    arguments: list[str],
    code: int,
    message: str,
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("empty.jsonl").write_text("")
    Path("bad.jsonl").write_text('{"question": "1+1?", "answer": "2"}\n{"question": \n')
    Path("bad.toml").write_text("[run]\nstepps = 3\n")
    found, _, err = in_process(capsys, *arguments)
    assert (found, message in err) == (code, True), err
    assert "Traceback" not in err
    assert not Path("runs").exists()


def test_skip_bad_goes_on_and_says_so(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "mixed.jsonl"
    file.write_bytes('\ufeff{"question": "1+1?", "answer": "2"}\r\nnonsense\r\n\r\n'.encode())
    code, _, err = in_process(
        capsys, "run", "--problems", file, "--skip-bad", "--out", tmp_path / "r", *SHORT
    )
    assert code == 0
    assert f"skipped {file}:2" in err


def test_standard_input_resumes_and_any_accepted_answer_counts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    asked = read_problems("generated:1").problems[0]
    answers = (["many", asked.answer], ["many"])
    lines = [{"question": asked.question, "answer": answer, "level": 2} for answer in answers]
    data = "".join(json.dumps(line) + "\n" for line in lines).encode()
    for resumed in (0, 2):
        monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(data)))
        code, out, err = in_process(capsys, "run", "--problems", "-", "--json")
        assert code == 0, err
        assert json.loads(out)["resumed"] == resumed
    (path,) = (tmp_path / "runs").iterdir()
    run = open_run(path)
    assert (
        path.name.startswith("standard-input-") and run.info["data"]["source"] == "standard input"
    )
    assert [problem.columns for problem in run.problems] == [{"level": 2}] * 2
    # The bundled model solves this problem, so the second accepted answer alone makes the
    # difference.
    assert run["verdict"][...].tolist() == [1, 0]


def test_failed_problems_end_with_three(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_problems(
        tmp_path / "p.jsonl", [Problem("ok", "1+1?", "2"), Problem("huge", "so " * 5000, "2")]
    )
    code, out, err = in_process(
        capsys, "run", "--problems", tmp_path / "p.jsonl", "--out", tmp_path / "r", *SHORT
    )
    assert code == 3
    assert "failed huge: prompt of" in err
    assert "1 problem finished" in out


def test_a_config_file_stands_below_the_command_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "c.toml").write_text(
        "[run]\nsteps = 8\ngen-length = 8\nblock_length = 8\nlimit = 1\nseed = 5\n"
    )
    arguments = ["--config", tmp_path / "c.toml", "run", "--out", tmp_path / "r", "--seed", "6"]
    assert in_process(capsys, *arguments)[0] == 0
    config = open_run(tmp_path / "r").info["config"]
    assert (config["steps"], config["block_length"], config["seed"]) == (8, 8, 6)


@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGTERM], ids=["Ctrl-C", "SIGTERM"])
def test_an_interrupt_ends_with_130_and_the_same_command_goes_on(
    tmp_path: Path, how: signal.Signals
) -> None:
    command = [
        sys.executable,
        "-P",
        "-m",
        "diffengine",
        "run",
        "--problems",
        "generated:300",
        "--out",
        str(tmp_path),
        "--token-budget",
        "500",
        *SHORT,
    ]
    running = subprocess.Popen(command, stderr=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert running.stderr is not None
    progress = tmp_path / "progress.json"
    while not (progress.exists() and json.loads(progress.read_text()).get("done")):
        assert running.poll() is None
        time.sleep(0.05)
    os.kill(running.pid, how)
    _, err = running.communicate(timeout=60)
    assert running.returncode == 130, err
    assert "the same command goes on" in err
    assert "Traceback" not in err
    assert 0 < len(open_run(tmp_path)) < 300


def test_progress_in_a_pipe_is_plain_lines(capsys: pytest.CaptureFixture[str]) -> None:
    with console.ProgressPrinter() as printer:
        for done in range(5):
            printer(Progress(done, 1, 0, 5, done, 2.0))
    lines = capsys.readouterr().err.splitlines()
    assert lines == [
        "1/5 problems, 1 from before",
        "5/5 problems, 1 from before, 4/4 correct, 7200 problems/h",
    ]


FIRST_OF_TEN = Progress(1, 0, 0, 100, 1, 10.0, begun=9.0)
"""Ten rows on a canvas, all at their end, and the first of them has been passed on."""


def test_the_eta_of_the_first_problem_is_that_of_its_canvas() -> None:
    assert console.describe(FIRST_OF_TEN) == (
        "1/100 problems, 1/1 correct (unfinished: 99 missing), 3600 problems/h, ETA 1:30"
    )


def test_the_bar_has_no_other_rate_than_ours(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sys.stderr.isatty", lambda: True, raising=False)
    with console.ProgressPrinter() as printer:
        printer(Progress(0, 0, 0, 100, 0, 0.0))
        printer(FIRST_OF_TEN)
        printer._bar.refresh()
    drawn = capsys.readouterr().err
    assert "1/100 [" in drawn
    assert "3600 problems/h, ETA 1:30]" in drawn
    assert "problem/s" not in drawn and "s/problem" not in drawn


def test_durations_read_as_clocks() -> None:
    assert [console.duration(s) for s in (0, 59.6, 61, 3600, 86400)] == [
        "0:00",
        "1:00",
        "1:01",
        "1:00:00",
        "24:00:00",
    ]
