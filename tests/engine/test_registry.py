"""Tables by name: ours, those of installed packages, and what is named outright."""

from __future__ import annotations

import hashlib
import sys
from pathlib import Path

import pytest

from diffengine import __version__
from diffengine.engine.registry import PluginError, Registry, Row, UnknownNameError, nearest

TABLE = {"join": "os.path:join", "registry": "diffengine.engine.registry:Registry"}


def packaged(folder: Path, name: str, points: str) -> None:
    """Metadata of an installed package with these entry points of the group `x.things`."""
    info = folder / f"{name}-3.1.dist-info"
    info.mkdir(parents=True)
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: 3.1\n")
    (info / "entry_points.txt").write_text(f"[x.things]\n{points}\n")


def test_a_row_is_loaded_only_when_it_is_asked_for() -> None:
    table = Registry("thing", {"gone": "diffengine.no_such_module:X", **TABLE})
    assert list(table) == ["gone", "join", "registry"]
    assert table.load("registry") is Registry
    assert table.row("join") == Row("join", "os.path:join", "diffengine", __version__)
    with pytest.raises(ModuleNotFoundError):
        table.load("gone")  # a wrong row of ours is a fault of ours


def test_an_unknown_name_is_answered_with_all_names_and_the_nearest() -> None:
    with pytest.raises(UnknownNameError) as caught:
        Registry("thing", TABLE).load("jion")
    assert str(caught.value) == (
        "no thing is called 'jion'; there are: join, registry. Did you mean 'join'?"
    )
    assert nearest("zzz", TABLE) == ""


def test_a_table_without_a_group_takes_nothing_from_outside() -> None:
    with pytest.raises(UnknownNameError):
        Registry("thing", TABLE).load("os.path:split")


def test_an_installed_package_adds_a_row(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    packaged(tmp_path, "theirs", "split = os.path:split")
    monkeypatch.syspath_prepend(str(tmp_path))
    table = Registry("thing", TABLE, group="x.things")
    assert list(table) == [*TABLE, "split"]
    assert table.row("split") == Row("split", "os.path:split", "theirs", "3.1")
    assert table.load("split")("a/b") == ("a", "b")
    assert table.plugin(table.row("split")) == {
        "kind": "thing",
        "name": "split",
        "target": "os.path:split",
        "package": "theirs",
        "version": "3.1",
    }


def test_a_name_that_is_taken_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    packaged(tmp_path, "theirs", "join = os.path:split")
    monkeypatch.syspath_prepend(str(tmp_path))
    with pytest.raises(PluginError, match="two packages name a thing 'join': diffengine and their"):
        Registry("thing", TABLE, group="x.things").load("join")


def test_a_module_of_no_package_is_known_by_its_content(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "lone_module_of_a_test.py"
    file.write_text("class Thing:\n    part = 3\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    table = Registry("thing", TABLE, group="x.things")
    row = table.row("lone_module_of_a_test:Thing.part")
    digest = hashlib.sha256(file.read_bytes()).hexdigest()
    assert (row.package, row.version) == ("", f"sha256:{digest[:12]}")
    assert table.load(row.target) == 3
    del sys.modules["lone_module_of_a_test"]


@pytest.mark.parametrize(
    ("name", "why"),
    [
        ("no_such_module_at_all:X", "module 'no_such_module_at_all' cannot be imported"),
        ("os.path:no_such_thing", "module 'os.path' has no 'no_such_thing'"),
        ("raising_module:X", r"cannot be imported \(ZeroDivisionError: division by zero\)"),
    ],
)
def test_what_cannot_be_loaded_is_one_sentence(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, why: str
) -> None:
    (tmp_path / "raising_module.py").write_text("1 / 0\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    with pytest.raises(PluginError, match=why):
        Registry("thing", TABLE, group="x.things").load(name)
