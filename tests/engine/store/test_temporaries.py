"""Every name under which something is written says by whom, and is swept once that process is dead."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from diffengine.engine.store import temporaries
from diffengine.engine.store.disk import replace_content, replace_file
from diffengine.engine.store.process import ProcessName, this_process
from diffengine.engine.store.temporaries import (
    is_stale,
    sweep_temporaries,
    temporary_beside,
    temporary_in,
)

NAMINGS = [lambda folder: temporary_beside(folder / "0-000001.h5"), temporary_in]


def dead_process() -> ProcessName:
    child = subprocess.Popen([sys.executable, "-c", ""])
    child.wait()
    return this_process()._replace(pid=child.pid)


@pytest.mark.parametrize("name_of", NAMINGS, ids=["beside", "in"])
def test_a_dead_writers_file_is_swept_and_a_living_ones_is_not(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name_of: Callable[[Path], Path]
) -> None:
    (tmp_path / "sums").mkdir()
    kept = [name_of(folder) for folder in (tmp_path, tmp_path / "sums")]
    dead = dead_process()
    monkeypatch.setattr(temporaries, "this_process", lambda: dead)
    left = [name_of(folder) for folder in (tmp_path, tmp_path / "sums")]
    monkeypatch.undo()
    for path in kept + left:
        path.write_bytes(b"half")
    assert [is_stale(path) for path in kept + left] == [False, False, True, True]
    assert set(sweep_temporaries(tmp_path)) == set(left)
    assert all(path.exists() for path in kept)


def test_while_a_file_is_replaced_its_temporary_is_known(tmp_path: Path) -> None:
    names = []

    def write(temporary: Path) -> None:
        temporary.write_bytes(b"new")
        names.append(temporaries.temporaries(tmp_path))

    replace_content(tmp_path / "a.json", b"old")
    replace_file(tmp_path / "a.json", write, flush_directory=False)
    ((temporary,),) = names
    assert temporary == temporary_beside(tmp_path / "a.json")
    assert (tmp_path / "a.json").read_bytes() == b"new"
    assert os.listdir(tmp_path) == ["a.json"]
