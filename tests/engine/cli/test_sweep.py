"""`diffengine sweep` as a user meets it: one command, a table, a picture, and every mistake one
message."""

from __future__ import annotations

import csv
import json
import signal
import sys
from pathlib import Path

import pytest

from diffengine.engine.cli import command_line as cli
from diffengine.engine.store import open_run

SHORT = ["--problems", "generated:4", "--gen-length", "8", "--block-length", "4"]
STRANGER = "threshold_policy:ThresholdPolicy"
STRANGERS = Path(__file__).parents[1] / "policies" / "strangers"


@pytest.fixture(autouse=True)
def somewhere(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.syspath_prepend(str(STRANGERS))
    monkeypatch.chdir(tmp_path)


def call(capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[int, str, str]:
    """`diffengine sweep ...` in this process: exit code, stdout, stderr."""
    before = sys.argv
    handler = signal.getsignal(signal.SIGTERM)
    sys.argv = ["diffengine", "sweep", *arguments]
    try:
        with pytest.raises(SystemExit) as over:
            cli.main()
    finally:
        sys.argv = before
        signal.signal(signal.SIGTERM, handler)
    out, err = capsys.readouterr()
    return int(over.value.code or 0), out, err


def test_it_has_every_option_of_run() -> None:
    from diffengine.engine.cli.run import run
    from diffengine.engine.cli.sweep import sweep

    # `--config` is added to a command when it is first asked for by name.
    of_sweep = {parameter.name for parameter in sweep.params}
    assert {parameter.name for parameter in run.params} - {"config"} <= of_sweep


def test_from_one_command_to_table_and_picture(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    code, out, err = call(capsys, *SHORT, "--steps", "2", "4", "--out", "s")
    assert code == 0, err
    assert "run 2 of 3: llada-steps-2" in err
    assert "Speed, accuracy and how far each run strays" in out
    assert "AUP of llada" in out
    assert out.strip().endswith("next: diffengine analyze s")
    names = sorted(path.name for path in Path("s").iterdir() if not path.name.startswith("."))
    runs = ["exact", "llada-steps-2", "llada-steps-4"]
    assert names == sorted(["comparison.csv", "sweep.json", "tradeoff.png", *runs])
    table = list(csv.DictReader(Path("s/comparison.csv").open()))
    tokens = {
        row["run"]: float(row["value"])
        for row in table
        if row["quantity"] == "parallel/tokens_per_forward"
    }
    assert tokens == {"exact": 1.0, "llada-steps-2": 4.0, "llada-steps-4": 2.0}
    assert Path("s/tradeoff.png").read_bytes().startswith(b"\x89PNG")

    code, again, err = call(capsys, *SHORT, "--steps", "2", "--steps", "4", "--out", "s")
    assert (code, again) == (0, out)
    assert "4 from before" in err


def test_on_a_preset_with_words_of_ones_own(capsys: pytest.CaptureFixture[str]) -> None:
    Path("words.txt").write_text("Think. {question}\n", encoding="utf-8")
    preset = ["--preset", "fast-dllm-llada-gsm8k", "--gen-length", "32", "--threshold", ".5"]
    given = ["--problems", "generated:2", "--prompt-template", "@words.txt", "--no-exact"]
    code, _, err = call(capsys, *preset, *given, "--out", "s")
    assert code == 0, err
    (made,) = Path("s").glob("*/run.json")
    config = json.loads(made.read_text(encoding="utf-8"))["config"]
    assert config["prompt_template"] == "Think. {question}"
    assert (config["policy"], config["threshold"], config["steps"]) == ("threshold", 0.5, 32)


def test_options_of_a_stranger(capsys: pytest.CaptureFixture[str]) -> None:
    values = ["--option", "threshold=.5", "threshold=.9"]
    policy = ["--policy", STRANGER]
    code, out, err = call(capsys, *SHORT[:4], *policy, *values, "--json", "--out", "s")
    assert code == 0, err
    result = json.loads(out)
    assert [run["name"] for run in result["runs"]] == [
        "exact",
        "threshold_policy-ThresholdPolicy-threshold-0.5",
        "threshold_policy-ThresholdPolicy-threshold-0.9",
    ]
    for run, threshold in zip(result["runs"][1:], (0.5, 0.9), strict=True):
        assert open_run(run["run"]).info["config"]["threshold"] == threshold
    assert "Speed, accuracy" in err and Path("s/comparison.csv").is_file()


def test_a_dry_run_says_runs_and_cost(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    code, out, err = call(capsys, *SHORT, "--steps", "2", "4", "--dry-run")
    assert code == 0, err
    lines = out.splitlines()
    assert lines[0].startswith("3 runs in runs/sweep-generated-4-")
    assert [line.split()[0] for line in lines[2:5]] == ["exact", "llada-steps-2", "llada-steps-4"]
    assert lines[5].startswith("all: disk ")
    assert "at most" not in out
    code, out, err = call(capsys, *SHORT, "--steps", "2", "4", "--dry-run", "--json")
    estimate = json.loads(out)
    assert [run["settings"]["steps"] for run in estimate["runs"]] == [8, 2, 4]
    assert all(run["total_seconds"] > 0 and run["disk_bytes"] > 0 for run in estimate["runs"])
    assert list(tmp_path.iterdir()) == []


def test_the_cost_of_runs_that_may_end_early_is_a_bound(capsys: pytest.CaptureFixture[str]) -> None:
    free = [*SHORT, "--policy", "threshold", "--threshold", ".9", "--dry-run"]
    code, out, err = call(capsys, *free)
    assert code == 0, err
    exact, threshold, whole = out.splitlines()[2:5]
    assert "at most" not in exact
    assert threshold.count("at most") == whole.count("at most") == 2
    code, out, err = call(capsys, *free, "--json")
    bounds = [(run["disk_at_most"], run["seconds_at_most"]) for run in json.loads(out)["runs"]]
    assert bounds == [(False, False), (True, True)]


def test_settings_from_a_file(capsys: pytest.CaptureFixture[str]) -> None:
    Path("s.toml").write_text(
        '[sweep]\nproblems = "generated:2"\nsteps = [2, 4]\ngen-length = 8\nblock_length = 4\n'
        "exact = false\n"
    )
    code, out, err = call(capsys, "--config", "s.toml", "--dry-run", "--json")
    assert code == 0, err
    assert [run["name"] for run in json.loads(out)["runs"]] == ["llada-steps-2", "llada-steps-4"]
    code, out, err = call(capsys, "--config", "s.toml", "--steps", "8", "--dry-run", "--json")
    assert [run["settings"]["steps"] for run in json.loads(out)["runs"]] == [8]


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--steps", "2", "x"], "'x' is not a valid integer"),
        (["--steps", "2", "2"], "steps 2: given twice"),
        (["--steps", "2", "3"], "steps 3 is not a multiple of the 2 blocks"),
        (["--record", "all", "masked"], "--record takes one value"),
        (["--policy", "lada"], "Did you mean 'llada'?"),
        (["--policy", "llada", "llada"], "policy llada: given twice"),
        (["--option", "threshold=.5"], "unknown setting threshold"),
        (["--option", "threshold"], "--option threshold: expected NAME=VALUE"),
        (["--option", "steps=2", "--steps", "4"], "--steps and --option steps: give one of them"),
        (["--policy", STRANGER, "--option", "threshold=2"], "threshold is 2.0"),
        (["--policy", STRANGER, "--option", "threshold=high"], "threshold is 'high'"),
        (["--preset", "no-such"], "no preset is called 'no-such'"),
        (["--seed", "-1"], "seed is -1"),
        (["--problems", "nowhere.jsonl"], "nowhere.jsonl"),
        (["--workers", "2", "--gpus", "1"], "give one; --gpus N is one worker on each GPU"),
        (["--no-exact", "something"], "Got unexpected extra argument (something)"),
    ],
)
def test_each_mistake_is_one_message(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, arguments: list[str], said: str
) -> None:
    short = SHORT[:4] if STRANGER in arguments else SHORT
    code, out, err = call(capsys, *short, *arguments)
    assert code in (1, 2)
    assert out == ""
    errors = [line for line in err.splitlines() if line.startswith("Error: ")]
    assert len(errors) == 1
    assert said in errors[0]
    assert "Traceback" not in err
    assert list(tmp_path.iterdir()) == []


def test_the_directory_of_a_sweep_stands_for_its_runs(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    from diffengine.engine.cli import analyze

    call(capsys, *SHORT, "--steps", "2", "4", "--out", "s")
    paths = analyze._with_sweeps([Path("other"), Path("s")])
    assert [path.name for path in paths] == ["other", "exact", "llada-steps-2", "llada-steps-4"]
