"""`diffengine list` prints every table, and says of what is not ours whose it is."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner

from diffengine.engine.cli.command_line import group
from diffengine.engine.models import FAMILIES
from diffengine.engine.policies import POLICIES
from diffengine.engine.presets import PRESETS

ENTRY_POINTS = """
[diffengine.policies]
theirs = their_module:Entropy
[diffengine.panels]
theirs = their_module:PANEL
"""


@pytest.fixture
def installed(tmp_path: Path) -> Path:
    """A folder in which a package of somebody else's is installed."""
    folder = tmp_path / "their_package-1.2.dist-info"
    folder.mkdir()
    metadata = "Metadata-Version: 2.1\nName: their-package\nVersion: 1.2\n"
    (folder / "METADATA").write_text(metadata)
    (folder / "entry_points.txt").write_text(ENTRY_POINTS)
    return tmp_path


def printed(*arguments: str, path: Path | None = None) -> str:
    """What `diffengine list` says in a process of its own, with `path` on its search path."""
    code = (
        "import sys\n"
        f"sys.path += {[str(path)] if path else []!r}\n"
        f"sys.argv = ['diffengine', 'list', *{list(arguments)!r}]\n"
        "from diffengine.engine.cli import main\n"
        "main()\n"
    )
    done = subprocess.run(
        [sys.executable, "-P", "-c", code], capture_output=True, text=True, timeout=60
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_every_table_has_a_line() -> None:
    lines = dict(line.split(": ", 1) for line in printed().splitlines())
    assert lines["architectures"] == ", ".join(FAMILIES)
    assert lines["policies"] == ", ".join(POLICIES)
    assert lines["spike rules"] == "z, 2std, basic"
    for title in ("metrics", "information estimators", "analyses", "curve models", "plots"):
        assert len(lines[title].split(", ")) > 3, title
    assert lines["problems"].startswith("samples, generated:N")


def test_what_is_not_ours_says_whose_it_is(installed: Path) -> None:
    lines = dict(line.split(": ", 1) for line in printed(path=installed).splitlines())
    assert lines["policies"] == ", ".join([*POLICIES, "theirs (their-package 1.2)"])
    assert lines["plots"].endswith(", theirs (their-package 1.2)")


def test_as_json_the_tables_are_names_and_the_plugins_stand_apart(installed: Path) -> None:
    assert json.loads(printed("--json"))["plugins"] == []
    tables = json.loads(printed("--json", path=installed))
    assert tables["policies"] == [*POLICIES, "theirs"]
    assert tables["plugins"][0] == {
        "table": "policies",
        "name": "theirs",
        "target": "their_module:Entropy",
        "package": "their-package",
        "version": "1.2",
    }
    assert [plugin["name"] for plugin in tables["plugins"]] == ["theirs", "theirs"]


def test_single_tables_can_be_asked_for() -> None:
    assert printed("policies", "curve models").splitlines() == [
        f"policies: {', '.join(POLICIES)}",
        next(line for line in printed().splitlines() if line.startswith("curve models: ")),
    ]
    presets = printed("presets")
    assert "llada-8b-instruct-gsm8k " in presets
    assert "presets: " not in presets
    assert f"presets: {', '.join(PRESETS)}" in printed()


def test_as_json_a_preset_is_all_that_is_said_of_it() -> None:
    tables = json.loads(printed("presets", "--json"))
    assert set(tables) == {"presets", "plugins"}
    assert list(tables["presets"]) == list(PRESETS)
    preset = tables["presets"]["llada-8b-instruct-gsm8k"]
    assert preset["settings"]["gen_length"] == 512
    assert preset["scores"][1] == {"value": 68.8, "measured_with": "OpenCompass"}
    assert list(json.loads(printed("--json"))["presets"]) == list(PRESETS)


def test_a_table_that_is_none_is_answered_with_the_nearest() -> None:
    done = CliRunner().invoke(group, ["list", "preset"])
    assert done.exit_code == 2
    assert "no table is called 'preset'" in done.output
    assert "Did you mean 'presets'?" in done.output
