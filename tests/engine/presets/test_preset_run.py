"""A run by a preset: end to end with the bundled model, and the same run as one typed by hand."""

from __future__ import annotations

import json
import logging
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

import diffengine as de
from diffengine.engine.cli.command_line import group
from diffengine.engine.config import ConfigError
from diffengine.engine.registry import UnknownNameError

NAME = "llada-8b-instruct-gsm8k"
BY_HAND = {
    "steps": 48,
    "gen_length": 48,
    "block_length": 48,
    "confidence_eos_eot_inf": True,
    "dtype": "bfloat16",
}
"""What the preset comes to with 48 tokens; the rest of it are defaults."""


def info_of(path: Path) -> dict[str, Any]:
    return json.loads((path / "run.json").read_text(encoding="utf-8"))


@pytest.fixture
def no_logging_setup(monkeypatch: pytest.MonkeyPatch) -> None:
    """The command sets up logging for a process of its own."""
    monkeypatch.setattr(logging, "basicConfig", lambda **_: None)


@pytest.mark.usefixtures("no_logging_setup")
def test_one_command_runs_a_preset_and_run_json_says_so(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    out = tmp_path / "run"
    command = ["run", "--preset", NAME, "--gen-length", "48", "--limit", "2", "--out", str(out)]
    done = CliRunner().invoke(group, command)
    assert done.exit_code == 0, done.output
    assert info_of(out)["preset"] == {
        "name": NAME,
        "changed": {
            key: {"preset": 512, "run": 48} for key in ("steps", "gen_length", "block_length")
        },
    }
    assert info_of(out)["config"]["dtype"] == "bfloat16"
    assert "4 worked examples" in caplog.text
    assert "this is the bundled model" in caplog.text
    assert len(de.open_run(out)) == 2
    assert NAME in CliRunner().invoke(group, ["inspect", str(out)]).output


def test_a_run_typed_by_hand_is_the_same_run(tmp_path: Path) -> None:
    first = de.run("samples", limit=1, out=tmp_path / "run", preset=NAME, gen_length=48)
    again = de.run("samples", limit=1, out=tmp_path / "run", **BY_HAND)
    assert (first.done, again.done, again.resumed) == (1, 0, 1)
    other = de.run("samples", limit=1, out=tmp_path / "other", **BY_HAND)
    assert info_of(other.path)["fingerprint"] == info_of(first.path)["fingerprint"]
    assert "preset" not in info_of(other.path)


def test_whoever_gives_the_examples_is_not_told_that_they_are_missing(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    words = "1 + 1 is 2. {question}"
    run = de.run(
        "samples", limit=1, out=tmp_path / "run", preset=NAME, gen_length=8, prompt_template=words
    )
    assert "this is the bundled model" in caplog.text
    assert "worked examples" not in caplog.text
    changed = info_of(run.path)["preset"]["changed"]
    assert changed["prompt_template"] == {"preset": "", "run": words}


def test_mistakes_are_refused_before_anything_is_written(tmp_path: Path) -> None:
    out = tmp_path / "run"
    with pytest.raises(UnknownNameError, match="no preset is called 'nothing'"):
        de.run("samples", out=out, preset="nothing")
    with pytest.raises(ConfigError, match="is of policy llada, but the policy is 'threshold'"):
        de.run("samples", out=out, preset=NAME, policy="threshold")
    with pytest.raises(ConfigError, match="block_length 8 does not divide gen_length 50"):
        de.run("samples", out=out, preset="llada-8b-instruct-gsm8k-block8", gen_length=50)
    assert not out.exists()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--preset", NAME, "--policy", "threshold"], "is of policy llada"),
        (["--preset", "llada-8b-instruct-gsm8"], f"Did you mean '{NAME}'?"),
        (["--preset", "llada-1.5-gsm8k", "--gen-length", "50"], "16 does not divide"),
        (["--preset", "dream-7b-instruct", "--option", "remasking=random"], "unknown setting"),
    ],
)
def test_the_command_line_refuses_them_in_a_sentence(arguments: list[str], message: str) -> None:
    done = CliRunner().invoke(group, ["estimate", *arguments])
    assert done.exit_code != 0
    assert message in str(done.exception)


def test_an_option_is_of_the_presets_policy() -> None:
    command = ["estimate", "--preset", "fast-dllm-llada-gsm8k", "--gen-length", "64"]
    done = CliRunner().invoke(group, [*command, "--option", "threshold=0.5", "--limit", "1"])
    assert done.exit_code == 0, done.output or done.exception
