"""Putting a file in its place: content on the disk before its name is, the name before the end."""

from __future__ import annotations

import os
import stat
from pathlib import Path

import pytest

from diffengine.engine.store.disk import replace_content


def test_content_is_flushed_before_the_name_and_the_name_before_the_end(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """After a loss of power the old file is there or the new one, never an empty or no file."""
    order: list[str] = []
    fsync = os.fsync
    replace = os.replace

    def flushed(descriptor: int) -> None:
        mode = os.fstat(descriptor).st_mode
        order.append("folder flushed" if stat.S_ISDIR(mode) else "content flushed")
        fsync(descriptor)

    def replaced(source: Path, target: Path) -> None:
        order.append("renamed")
        replace(source, target)

    monkeypatch.setattr(os, "fsync", flushed)
    monkeypatch.setattr(os, "replace", replaced)
    replace_content(tmp_path / "x", b"new")
    assert order == ["content flushed", "renamed", "folder flushed"]
    assert (tmp_path / "x").read_bytes() == b"new"
