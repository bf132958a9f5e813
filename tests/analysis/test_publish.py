"""A published file is whole or the old one."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from diffengine.analysis.publish import publish


def test_replaces_and_leaves_nothing_beside(tmp_path: Path) -> None:
    for content in (b"first", b"", b"third" * 1000):
        publish(tmp_path / "a.txt", content)
        assert (tmp_path / "a.txt").read_bytes() == content
    assert os.listdir(tmp_path) == ["a.txt"]


def test_failure_keeps_the_old_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    publish(tmp_path / "a.txt", b"old")

    def full(_: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space"):
        publish(tmp_path / "a.txt", b"new")
    assert (tmp_path / "a.txt").read_bytes() == b"old" and os.listdir(tmp_path) == ["a.txt"]


def test_missing_folder_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        publish(tmp_path / "none" / "a.txt", b"x")
