"""The README's Python runs as printed, and what its commands name exists."""

from __future__ import annotations

import re
from pathlib import Path

import click
import pytest

from diffengine.engine.cli.command_line import group

ROOT = Path(__file__).resolve().parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")


def test_the_python_of_the_readme_runs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys
) -> None:
    monkeypatch.chdir(tmp_path)
    blocks = re.findall(r"```python\n(.*?)```", README, re.S)
    assert blocks
    for block in blocks:
        exec(compile(block, "README.md", "exec"), {})
    assert "(3, 48, 48) bits" in capsys.readouterr().out


def test_every_link_of_the_readme_leads_somewhere() -> None:
    for target in re.findall(r"\]\(([^)#:]+)\)", README):
        assert (ROOT / target).exists(), target


def test_every_command_of_the_readme_exists() -> None:

    context = click.Context(group)
    for name, options in re.findall(r"(?:^    |`|&& )diffengine (\w+)([^`&#\n]*)", README, re.M):
        command = group.get_command(context, name)
        assert command is not None, name
        known = {o for p in command.params for o in (*p.opts, *p.secondary_opts)}
        assert set(re.findall(r"--[a-z-]+", options)) <= known, (name, options)


def test_the_two_commands_come_first() -> None:
    first = [
        line.split("#")[0].strip() for line in README.splitlines()[1:] if line.startswith("    ")
    ][:2]
    assert first == ["make demo", "make test"]
