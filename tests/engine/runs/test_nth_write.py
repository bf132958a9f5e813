"""The n-th write, fsync, rename, link, open or mkdir fails, for n = 1, 2, 3, ...: one clear error
or success.

Afterwards what was published still verifies, the same command without the fault ends with the
tokens and values of a run that never met one, and no temporary file is left. For each command and
kind (once, persistently) an errno and an n are drawn; `--faults all` tries every one.
"""

from __future__ import annotations

import errno
import importlib.util
import itertools
import logging
import os
import random
import shutil
import sys
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest

from diffengine.engine.cli import command_line as cli
from diffengine.engine.runs import writer
from diffengine.engine.store import open_run, temporaries, verify_run
from diffengine.engine.store.check import verify
from diffengine.engine.store.check.shard_check import check_shard

_spec = importlib.util.spec_from_file_location(
    "faulty_disk", Path(__file__).with_name("faulty_disk.py")
)
assert _spec is not None and _spec.loader is not None
faulty_disk: Any = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(faulty_disk)

ERRNOS = (errno.ENOSPC, errno.EIO, errno.EDQUOT, errno.EINTR, errno.EACCES)
SHORT = (
    "--steps",
    "3",
    "--gen-length",
    "6",
    "--block-length",
    "6",
    "--save-logits",
    "hidden",
    "--device",
    "cpu",
)
RUN = ("run", "--problems", "generated:3", *SHORT, "--out", "{run}")
COMMANDS: dict[str, tuple[str, ...]] = {
    "run": RUN,
    "resume": RUN,
    "analyze": ("analyze", "{run}", "--no-mi", "--no-tsne"),
    "report": ("report", "{run}"),
    "export": ("export", "{run}"),
    "likelihood": (
        "likelihood",
        "{run}",
        "--kind",
        "sequential",
        "--context",
        "prompt",
        "--device",
        "cpu",
    ),
    "verify": ("verify", "{run}", "--repair"),
}
RANDOM_OR_TIMED = ("seconds",)


class Outcome:
    """How a command line ended: exit code and what it said. A traceback is an exception that gets
    through."""

    def __init__(
        self, arguments: tuple[str, ...], run_dir: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        capsys.readouterr()
        before, sys.argv = (
            sys.argv,
            ["diffengine", *(part.format(run=run_dir) for part in arguments)],
        )
        path = sys.path[:]
        try:
            cli.main()
            self.code: Any = 0
        except SystemExit as end:
            self.code = end.code or 0
        finally:
            sys.argv, sys.path[:] = before, path
            said = capsys.readouterr()
            self.out, self.err = said.out, said.err


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """No waiting for a disk to become free, no second process for each look into a shard, no old
    log handlers."""
    monkeypatch.setattr(writer, "BACK_OFF_SECONDS", (0.0, 0.0))
    checked = lambda paths, info, **_: (check_shard(path, info) for path in paths)  # noqa: E731
    monkeypatch.setattr(verify, "checked_shards", checked)
    monkeypatch.setattr("diffengine.engine.store.check.resume.checked_shards", checked)
    monkeypatch.setattr(logging.root, "handlers", [])
    monkeypatch.setattr("signal.signal", lambda *_: None)


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What every command must end with; made by another process, where no disk is faulty."""
    import subprocess

    out = tmp_path_factory.mktemp("finished") / "run"
    for name in ("run", "analyze", "report", "export", "likelihood"):
        command = [
            sys.executable,
            "-m",
            "diffengine",
            *(part.format(run=out) for part in COMMANDS[name]),
        ]
        subprocess.run(command, check=True, capture_output=True)
    return out


def prepare(command: str, finished: Path, run_dir: Path) -> None:
    """The run as the command finds it: nothing, half, whole, or with something to repair."""
    shutil.rmtree(run_dir, ignore_errors=True)
    if command == "run":
        return
    shutil.copytree(finished, run_dir)
    if command == "resume":
        shutil.rmtree(run_dir / "shards")
        (run_dir / "tokens.json").unlink()
    if command == "likelihood":
        shutil.rmtree(run_dir / "likelihood")
    if command == "export":
        shutil.rmtree(run_dir / "export-seed")
    if command == "verify":
        shard = next((run_dir / "shards").iterdir())
        os.truncate(run_dir / "manifest-0.jsonl", 40)
        shutil.copy(shard, shard.with_name("0-000009-00000000.h5"))
        (run_dir / "shards" / ".nowhere~0~1.0.tmp").write_bytes(b"x")
        os.utime(run_dir / "shards" / ".nowhere~0~1.0.tmp", (0, 0))


def values(run_dir: Path) -> dict[str, Any]:
    """Everything recorded."""
    with open_run(run_dir) as run:
        assert run.missing == []
        return {name: run[name][...] for name in run.variables if name != "hidden_sum"}


def assert_same_values(found: dict[str, Any], expected: dict[str, Any]) -> None:
    assert found.keys() == expected.keys()
    for name, array in expected.items():
        if name not in RANDOM_OR_TIMED:
            np.testing.assert_array_equal(found[name], array, err_msg=name)


def assert_clear(outcome: Outcome, what: str) -> None:
    """Exit code 0 or 1 (3: some problems failed is none of it), and one sentence in the second
    case."""
    assert outcome.code in (0, 1), f"{what}: exit code {outcome.code}: {outcome.err}"
    said = outcome.err + outcome.out
    assert "Traceback" not in said and "--- Logging error" not in said, f"{what}: {said}"
    if outcome.code:
        errors = [line for line in outcome.err.splitlines() if line.startswith("Error: ")]
        assert len(errors) == 1 and len(errors[0]) > 40, f"{what}: {outcome.err!r}"


@pytest.fixture(scope="module")
def lengths() -> dict[str, int]:
    """How many calls each command makes where none fails, filled in by whoever comes first."""
    return {}


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Every errno for every command and kind, or one drawn for each."""
    if "persistent" not in metafunc.fixturenames:
        return
    every, seed = (
        metafunc.config.getoption("--faults") == "all",
        metafunc.config.getoption("--faults-seed"),
    )
    cases = []
    for command, persistent in itertools.product(COMMANDS, (False, True)):
        kind = "persistently" if persistent else "once"
        codes = ERRNOS if every else [random.Random(f"{seed} {command} {kind}").choice(ERRNOS)]
        cases += [
            pytest.param(command, code, persistent, id=f"{command}-{errno.errorcode[code]}-{kind}")
            for code in codes
        ]
    metafunc.parametrize(("command", "code", "persistent"), cases)


def test_the_nth_write_fails(
    finished: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    lengths: dict[str, int],
    command: str,
    code: int,
    persistent: bool,
    faults_seed: int,
    every_fault: bool,
) -> None:
    run_dir, expected, arguments = tmp_path / "place" / "run", values(finished), COMMANDS[command]
    run_dir.parent.mkdir()
    disk = faulty_disk.FaultyDisk(run_dir.parent, monkeypatch)
    if command not in lengths:
        prepare(command, finished, run_dir)
        disk.fail(0, 0, persistent=False)
        outcome = Outcome(arguments, run_dir, capsys)
        assert outcome.code == (1 if command == "verify" else 0), (
            command,
            outcome.err,
            outcome.out,
        )
        lengths[command] = len(disk.calls)
    assert lengths[command] > 15, command
    wrong: list[str] = []
    for n in places(lengths[command], every_fault, f"{faults_seed} {command} {code} {persistent}"):
        prepare(command, finished, run_dir)
        disk.fail(n, code, persistent=persistent)
        outcome = Outcome(arguments, run_dir, capsys)
        call = disk.calls[n - 1] if disk.met else "not met"
        disk.fail(0, 0, persistent=False)
        what = (
            f"{command}: call {n} ({call}) {errno.errorcode[code]}{' and all after' * persistent}"
        )
        try:
            if command != "verify":
                assert_clear(outcome, what)
            assert_goes_on(command, run_dir, capsys, expected, what)
        except AssertionError as error:
            wrong.append(str(error))
    assert not wrong, f"{len(wrong)} faults (seed {faults_seed}):\n" + "\n\n".join(wrong)


def places(length: int, every_fault: bool, seed: str) -> list[int]:
    """Which calls fail, from 1: all, or one drawn."""
    return list(range(1, length + 1)) if every_fault else [random.Random(seed).randint(1, length)]


def assert_goes_on(
    command: str,
    run_dir: Path,
    capsys: pytest.CaptureFixture[str],
    expected: dict[str, Any],
    what: str,
) -> None:
    """What is there verifies; the same command ends well and as if nothing had been."""
    if any(run_dir.glob("shards/*.h5")) and command != "verify":
        report = verify_run(run_dir)
        assert report.ok, f"{what}: {report.findings}"
    again = Outcome(COMMANDS[command], run_dir, capsys)
    assert again.code == 0 or command == "verify", f"{what}: {again.err}"
    report = verify_run(run_dir)
    assert report.complete, f"{what}: {report.findings}"
    assert_same_values(values(run_dir), expected)
    with (
        pytest.MonkeyPatch.context() as patch
    ):  # the process that met the fault would be dead by now; it is this one
        patch.setattr(temporaries, "is_stale", lambda path: True)
        temporaries.sweep_temporaries(run_dir)
    assert [path.name for path in run_dir.rglob("*.tmp*")] == [], what


def test_hdf5_itself_never_writes_a_file(monkeypatch: pytest.MonkeyPatch, finished: Path, tmp_path: Path,
                                         capsys: pytest.CaptureFixture[str]) -> None:  # fmt: skip
    """A full disk crashes HDF5, so every file it makes is made in memory; whole commands show
    it."""
    opened, opener = [], h5py.File.__init__

    def noting(self: h5py.File, name: Any, mode: str = "r", *rest: Any, **options: Any) -> None:
        in_memory = hasattr(name, "write") or (
            options.get("driver") == "core" and not options["backing_store"]
        )
        opened.append((mode, in_memory))
        opener(self, name, mode, *rest, **options)

    monkeypatch.setattr(h5py.File, "__init__", noting)
    for command in COMMANDS:
        prepare(command, finished, tmp_path / "run")
        Outcome(COMMANDS[command], tmp_path / "run", capsys)
    assert {mode for mode, in_memory in opened if not in_memory} == {"r"}
    assert sum(in_memory for _, in_memory in opened) > 5
