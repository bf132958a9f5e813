"""A machine of a Ray cluster that is lost: the run goes on with the others and ends complete."""

from __future__ import annotations

import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from diffengine.engine.runs.cluster.ray_session import QUIET
from diffengine.engine.store import open_run, verify_run

SETTINGS = ["--steps", "12", "--gen-length", "12", "--block-length", "4", "--token-budget", "300"]
QUICKLY = {
    "health_check_initial_delay_ms": 0,
    "health_check_period_ms": 500,
    "health_check_failure_threshold": 4,
}


@pytest.fixture
def cluster(monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """Two nodes of one CPU each, on this machine."""
    for name, value in {**QUIET, "RAY_AUTH_MODE": "disabled"}.items():
        monkeypatch.setenv(name, value)
    from ray.cluster_utils import Cluster

    with tempfile.TemporaryDirectory(
        prefix="de-node-", dir="/tmp", ignore_cleanup_errors=True
    ) as folder:
        monkeypatch.setenv("RAY_TMPDIR", folder)
        (Path(folder) / "ray").mkdir()
        size = {"num_cpus": 1, "object_store_memory": 80 << 20}
        started = Cluster(
            initialize_head=True,
            head_node_args={**size, "include_dashboard": False, "_system_config": QUICKLY},
        )
        try:
            started.add_node(**size)
            yield started
        finally:
            started.shutdown()


def test_a_lost_node_costs_nothing(cluster: Any, tmp_path: Path) -> None:
    command = [
        sys.executable,
        "-P",
        "-m",
        "diffengine",
        "run",
        "--problems",
        "generated:120",
        "--out",
        str(tmp_path),
    ]
    more = ["--workers", "2", "--cluster", cluster.address]
    running = subprocess.Popen(
        [*command, *SETTINGS, *more], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    try:
        deadline = time.monotonic() + 120
        while len({p.name.split("-")[0] for p in (tmp_path / "shards").glob("*.h5")}) < 2:
            assert running.poll() is None and time.monotonic() < deadline
            time.sleep(0.05)
        (second,) = cluster.worker_nodes
        cluster.remove_node(second, allow_graceful=False)
        out, err = running.communicate(timeout=240)
    finally:
        running.kill()
    assert running.returncode == 0, err
    assert "SECURITY: the Ray cluster at" in err and "asks for no token" in err
    assert "raylet" not in out
    assert "died" in (tmp_path / "logs" / "driver.log").read_text()
    report = verify_run(tmp_path)
    assert report.complete, (report.findings, report.missing)
    stored = open_run(tmp_path)
    assert stored.shard_sum("hidden_sum")[1] == len(stored) == 120
