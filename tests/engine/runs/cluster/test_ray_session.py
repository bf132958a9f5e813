"""Ray comes only when it is asked for, says nothing on the terminal, and leaves nothing behind."""

from __future__ import annotations

import logging
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from diffengine.engine.runs.cluster.ray_session import (
    ClusterError,
    _raylet_lines_to_the_log,
    started_ray,
    sweep_folders,
)

FLAGS = ["--steps", "4", "--gen-length", "4", "--block-length", "4"]


def test_what_ray_prints_goes_to_the_log(caplog: pytest.LogCaptureFixture, capfd: Any) -> None:
    import ray

    data = {"lines": ["a worker died"], "pid": "raylet", "is_err": False}
    before = ray._private.worker.print_to_stdstream
    with caplog.at_level(logging.INFO, "diffengine"), _raylet_lines_to_the_log(ray):
        ray._private.worker.print_to_stdstream(data, ignore_prefix=False)
    assert "ray: a worker died" in caplog.text
    assert capfd.readouterr() == ("", "")
    assert ray._private.worker.print_to_stdstream is before


def test_folders_of_killed_commands_are_swept_and_no_others(tmp_path: Path) -> None:
    gone = subprocess.Popen(["true"])
    gone.wait()
    mine = [
        f"de-ray-{gone.pid}-abc",
        f"de-ray-{os.getpid()}-abc",
        "de-ray-abc",
        f"other-{gone.pid}-abc",
    ]
    for name in mine:
        (tmp_path / name / "session").mkdir(parents=True)
    (tmp_path / f"de-ray-{gone.pid}-link").symlink_to(tmp_path / "other")
    assert [p.name for p in sweep_folders(tmp_path)] == [mine[0]]
    assert {p.name for p in tmp_path.iterdir()} == {*mine[1:], f"de-ray-{gone.pid}-link"}


def test_one_device_never_imports_ray(tmp_path: Path) -> None:
    code = (
        "import sys; from diffengine.engine import cli\n"
        "sys.argv = ['diffengine', 'run', '--limit', '1', '--workers', '1', '--out', "
        f"{str(tmp_path)!r}, *{FLAGS!r}]\n"
        "try: cli.main()\nexcept SystemExit as over: assert not over.code, over.code\n"
        "assert 'ray' not in sys.modules"
    )
    done = subprocess.run(
        [sys.executable, "-P", "-c", code], capture_output=True, text=True, timeout=120
    )
    assert done.returncode == 0, done.stderr


def test_a_ray_that_does_not_import_is_one_sentence(planted: Callable[..., None]) -> None:
    planted(ray="raise OSError('libstdc++.so.6: version GLIBCXX_3.4.30 not found')")
    with (
        pytest.raises(ClusterError, match="package ray.*OSError: libstdc.*run on one device"),
        started_ray(None, workers=2, gpu=False),
    ):
        pass
