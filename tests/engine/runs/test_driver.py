"""The command of a run on several workers, killed and stopped: workers end, its folder goes, the
next one goes on."""

from __future__ import annotations

import contextlib
import json
import re
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from diffengine.engine.store import open_run, verify_run

FLAGS = ["--steps", "12", "--gen-length", "12", "--block-length", "4", "--token-budget", "300"]


def _manifest(out: Path) -> list[dict[str, Any]]:
    return [
        json.loads(line)
        for path in out.glob("manifest-*.jsonl")
        for line in path.read_text().splitlines()
    ]


def _workers(out: Path) -> list[int]:
    """The processes of all workers that the run has ever had, by their logs."""
    logs = [path.read_text() for path in sorted((out / "logs").glob("w*.log"))]
    return [int(pid) for log in logs for pid in re.findall(r"ready: process (\d+)", log)]


def _start(out: Path, *more: str) -> subprocess.Popen[str]:
    command = [
        sys.executable,
        "-P",
        "-m",
        "diffengine",
        "run",
        "--problems",
        "generated:400",
        "--out",
        str(out),
    ]
    return subprocess.Popen(
        [*command, *FLAGS, *more], stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True
    )


def _wait_for_shards(running: subprocess.Popen[str], out: Path, count: int = 2) -> None:
    while len(list((out / "shards").glob("*.h5"))) < count:
        assert running.poll() is None
        time.sleep(0.05)


def _left_over(out: Path, driver: int) -> list[str]:
    """Processes of the Ray that `driver` started, by its folder, and workers of the run, that still
    live."""
    found = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        with contextlib.suppress(OSError):
            command = path.read_text()
            if int(path.parent.name) in _workers(out) or f"de-ray-{driver}-" in command:
                found.append(command)
    return found


def test_the_driver_killed_and_then_stopped_politely_still_ends_complete(tmp_path: Path) -> None:
    running = _start(tmp_path, "--workers", "2")
    _wait_for_shards(running, tmp_path)
    running.send_signal(
        signal.SIGSTOP
    )  # else two workers may be through before the second command has started
    second = _start(tmp_path)
    assert "is in use by process" in second.communicate(timeout=120)[1]
    assert second.returncode == 1
    assert running.poll() is None
    running.send_signal(signal.SIGCONT)
    _wait_for_shards(running, tmp_path, count=len(list((tmp_path / "shards").glob("*.h5"))) + 1)
    running.kill()
    running.communicate()
    deadline = time.monotonic() + 30
    while _left_over(tmp_path, running.pid) and time.monotonic() < deadline:
        time.sleep(0.2)
    assert _left_over(tmp_path, running.pid) == []
    stored = len(open_run(tmp_path))
    assert 0 < stored < 400
    left = [path for path in Path(tempfile.gettempdir()).glob(f"de-ray-{running.pid}-*")]
    assert len(left) == 1
    running = _start(tmp_path, "--workers", "2")
    _wait_for_shards(running, tmp_path, count=len(list((tmp_path / "shards").glob("*.h5"))) + 2)
    running.send_signal(signal.SIGTERM)
    err = running.communicate(timeout=120)[1]
    assert running.returncode == 130, err
    assert "Traceback" not in err
    assert not any(path.exists() for path in left)
    assert _left_over(tmp_path, running.pid) == []
    assert stored < len(open_run(tmp_path)) < 400
    running = _start(tmp_path)  # and one device finishes what two began
    running.communicate(timeout=300)
    assert running.returncode == 0
    report = verify_run(tmp_path)
    assert report.ok, report.findings
    assert (report.n_problems, report.missing) == (400, [])
    assert sum(len(e["problem_ids"]) for e in _manifest(tmp_path)) == 400
