"""One process at a time: the second is told who holds the run, a dead holder is no obstacle, nobody
ever waits."""

from __future__ import annotations

import errno
import fcntl
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from diffengine.engine.store import RunLock, RunLocked
from diffengine.engine.store.process import ProcessName, parse_process, this_process

_HOLDER = """
import sys, time
sys.path[:] = {path!r}
from diffengine.engine.store import RunLock
with RunLock({run!r}):
    print("held", flush=True)
    time.sleep(60)
"""


def named(process: ProcessName) -> str:
    return json.dumps({"holder": str(process)})


def holder(run_dir: Path) -> subprocess.Popen:
    code = _HOLDER.format(path=[entry for entry in sys.path if entry], run=str(run_dir))
    child = subprocess.Popen([sys.executable, "-I", "-c", code], stdout=subprocess.PIPE)
    assert child.stdout is not None and child.stdout.readline() == b"held\n"
    return child


def test_the_holder_is_named_and_its_death_frees_the_lock(run_dir: Path) -> None:
    child = holder(run_dir)
    try:
        start = time.monotonic()
        with pytest.raises(RunLocked, match=f"in use by process {child.pid} on "), RunLock(run_dir):
            pass
        assert time.monotonic() - start < 1
    finally:
        child.send_signal(signal.SIGKILL)
        child.wait()
    with RunLock(run_dir):
        assert str(this_process()) in (run_dir / ".lock").read_text()
    assert (run_dir / ".lock").read_text() == ""


def test_the_same_process_cannot_take_it_twice(run_dir: Path) -> None:
    with RunLock(run_dir):
        with pytest.raises(RunLocked, match="this very process"), RunLock(run_dir):
            pass
        with pytest.raises(RunLocked), RunLock(run_dir):
            pass
    with RunLock(run_dir):
        pass


def test_an_error_inside_frees_the_lock(run_dir: Path) -> None:
    with pytest.raises(ZeroDivisionError), RunLock(run_dir):
        raise ZeroDivisionError
    with RunLock(run_dir):
        pass


@pytest.mark.parametrize(
    ("text", "free"),
    [
        ("", True),
        (named(this_process()._replace(boot="other")), True),
        (named(this_process()._replace(pid=2**22 + 5)), True),
        (named(this_process()._replace(pid=1)), False),
        ('{"holder": "elsewhere~1~1"}', False),
        ("rubbish", False),
    ],
    # Ids that name no process: every worker of a parallel run must collect the same tests.
    ids=["empty", "other boot", "dead", "alive", "other machine", "rubbish"],
)
def test_without_kernel_locks_the_text_decides(
    run_dir: Path, monkeypatch: pytest.MonkeyPatch, text: str, free: bool
) -> None:
    def unsupported(descriptor: int, operation: int) -> None:
        raise OSError(errno.ENOLCK, "no locks available")

    monkeypatch.setattr(fcntl, "flock", unsupported)
    (run_dir / ".lock").write_text(text)
    if free:
        with RunLock(run_dir):
            pass
    else:
        with pytest.raises(RunLocked, match="delete"), RunLock(run_dir):
            pass


def test_process_names_survive_being_written() -> None:
    assert (
        parse_process(str(this_process())) == this_process() and parse_process("nonsense") is None
    )
    assert not this_process().surely_dead and this_process().pid == os.getpid()


def test_a_killed_process_is_dead_before_its_parent_has_looked() -> None:
    child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"])
    name = this_process()._replace(pid=child.pid)
    assert not name.surely_dead
    child.kill()
    deadline = time.monotonic() + 20
    while not name.surely_dead and time.monotonic() < deadline:
        time.sleep(0.01)
    assert name.surely_dead and child.returncode is None
    child.wait()
    assert name.surely_dead
