"""`--config` before and behind every command, what it refuses, and which file wins."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click
import pytest
from click.testing import CliRunner

from diffengine.engine.cli import command_line as cli
from diffengine.engine.cli import run as run_command

COMMANDS = cli.group.list_commands(click.Context(cli.group))


def asked(monkeypatch: pytest.MonkeyPatch, *arguments: str) -> dict[str, Any]:
    """The options with which `estimate` would start its work."""
    seen: dict[str, Any] = {}

    def stop(options: dict[str, Any]) -> None:
        seen.update(options)
        raise click.exceptions.Exit(0)

    monkeypatch.setattr(run_command, "_asked", stop)
    done = CliRunner().invoke(cli.group, list(arguments))
    assert done.exit_code == 0, done.output
    return seen


def test_before_and_behind_the_command_it_says_the_same(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "c.toml"
    settings = 'steps = 8\ngen-length = 16\nproblems = "p.jsonl"\nrefill = false\n'
    file.write_text(f"[estimate]\n{settings}[list]\njson = true\n")
    before = asked(monkeypatch, "--config", str(file), "estimate", "--steps", "4")
    behind = asked(monkeypatch, "estimate", "--steps", "4", "--config", str(file))
    assert before == behind
    assert (before["steps"], before["gen_length"], before["sources"]) == (4, 16, ("p.jsonl",))
    assert before["refill"] is False


def test_the_nearer_file_wins_and_the_other_still_counts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    far, near = tmp_path / "far.toml", tmp_path / "near.toml"
    far.write_text("[estimate]\nsteps = 8\nseed = 5\n")
    near.write_text("[estimate]\nsteps = 16\n")
    options = asked(monkeypatch, "--config", str(far), "estimate", "--config", str(near))
    assert (options["steps"], options["seed"]) == (16, 5)


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_knows_it(command: str) -> None:
    assert "--config" in CliRunner().invoke(cli.group, [command, "--help"]).output


@pytest.mark.parametrize("place", ["before", "behind"])
@pytest.mark.parametrize(("content", "message"), [
    (b"[rum]\nsteps = 1\n", "rum is not the table of a command"),
    (b"steps = 1\n", "steps is not the table of a command"),
    (b"[run]\nstepps = 1\n", "[run] has no setting stepps"),
    (b"[run]\nconfig = 'x.toml'\n", "[run] has no setting config"),
    (b"[run]\nsteps = [1, 2]\n", "[run] steps is a list, expected one value"),
    (b"[run.steps]\na = 1\n", "[run] steps is a table, expected one value"),
    (b"[run]\nsteps = true\n", "'True' is not a valid integer"),
    (b"[run]\nsteps = 1979-05-27\n", "is not a valid integer"),
    (b"[run]\nlogits-eos-inf = 'maybe'\n", "is not a valid boolean"),
    (b"[run\n", "--config"),
    (b"\xff\xfe", "--config"),
    (b"a = " + b"[" * 5000, "--config"),
])  # fmt: skip
def test_what_a_file_says_wrong_is_one_message(
    tmp_path: Path, place: str, content: bytes, message: str
) -> None:
    file = tmp_path / "c.toml"
    file.write_bytes(content)
    option = ["--config", str(file)]
    done = CliRunner().invoke(
        cli.group, [*option, "run"] if place == "before" else ["run", *option]
    )
    assert (done.exit_code, message in done.output) == (2, True), done.output
    if "not the table" in message:
        assert all(f"[{command}]" in done.output for command in COMMANDS)
    assert isinstance(done.exception, SystemExit)
