"""Killed with SIGKILL at fifty random moments and run again, a run ends as if nothing had happened.

The children are forked from one process that has the model loaded, so that a kill costs a moment
and not an import.
"""

from __future__ import annotations

import contextlib
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np

from diffengine.engine.store import open_run, verify_run

KILLS = 50

DRIVER = """
import os, sys, torch
torch.set_num_threads(1)
from diffengine.engine.models.loading import load_model
from diffengine.engine.runs.run import BUNDLED, Execution, run
import diffengine.engine.store.read.xarray_view, diffengine.engine.policies.llada  # imported before the forks
model = load_model(BUNDLED, device="cpu")
for line in sys.stdin:
    child = os.fork()
    if child == 0:
        try:
            run("generated:40", out=line.strip(), model=model, execution=Execution(shard_problems=3, token_budget=300),
                steps=12, gen_length=12, block_length=4)
        except BaseException as error:
            sys.stderr.write(f"{type(error).__name__}: {error}\\n")
            os._exit(1)
        os._exit(0)
    print(child, flush=True)
    _, status = os.waitpid(child, 0)
    print(status, flush=True)
"""


class Forks:
    """Runs in forked children of one warm process; each can be killed after a delay."""

    def __init__(self) -> None:
        self.driver = subprocess.Popen(
            [sys.executable, "-P", "-c", DRIVER],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env=os.environ
            | {"PYTHONPATH": os.pathsep.join(p for p in sys.path if p), "OMP_NUM_THREADS": "1"},
        )

    def run(self, out: Path, *, kill_after: float | None = None) -> tuple[int, float]:
        """Start one child; returns its wait status and its seconds."""
        assert self.driver.stdin is not None and self.driver.stdout is not None
        self.driver.stdin.write(f"{out}\n")
        self.driver.stdin.flush()
        child = int(self.driver.stdout.readline())
        started = time.perf_counter()
        if kill_after is not None:
            time.sleep(kill_after)
            with contextlib.suppress(ProcessLookupError):  # it was faster than the kill
                os.kill(child, signal.SIGKILL)
        return int(self.driver.stdout.readline()), time.perf_counter() - started

    def close(self) -> None:
        assert self.driver.stdin is not None
        self.driver.stdin.close()
        assert self.driver.wait(60) == 0


def test_fifty_kills_change_nothing(tmp_path: Path) -> None:
    forks = Forks()
    status, whole_seconds = forks.run(tmp_path / "reference")
    assert status == 0
    rng, killed, landed, round_ = random.Random(0), 0, 0, 0
    finished: list[Path] = []
    while killed < KILLS:
        out = tmp_path / f"killed-{round_}"
        for _ in range(KILLS):
            status, _ = forks.run(out, kill_after=rng.uniform(0.0, 0.6 * whole_seconds))
            killed += os.WIFSIGNALED(status)
            landed += os.WIFSIGNALED(status) and (out / "shards").is_dir()
            if status == 0 or killed >= KILLS:
                break
            assert os.WTERMSIG(status) == signal.SIGKILL
        assert forks.run(out)[0] == 0
        finished.append(out)
        round_ += 1
    forks.close()
    assert landed > KILLS / 2  # most kills met a run that had something to lose
    for out in finished:
        report = verify_run(out)
        assert report.ok, report.findings
        assert (report.n_problems, report.missing) == (40, [])
        compare(out, tmp_path / "reference")


def compare(one: Path, two: Path) -> None:
    """The finished run equals the uninterrupted one: ids and tokens exactly, values within 1e-5."""
    a, b = open_run(one), open_run(two)
    assert a.ids == b.ids
    for name in ("token", "committed", "prediction", "verdict", "generated_text"):
        assert np.array_equal(a[name][...], b[name][...]), name
    for name in ("entropy", "kl", "logprob", "answer_logprob", "cka"):
        np.testing.assert_allclose(a[name][...], b[name][...], atol=1e-5, rtol=1e-5, err_msg=name)
