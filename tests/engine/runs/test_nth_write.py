"""The n-th write, fsync, rename, link, open or mkdir fails, for n = 1, 2, 3, ...: one clear error
or success.

Where the command says success, everything is there. Otherwise what was published still verifies.
Either way the same command without the fault ends with the tokens, values and files of a run that
never met one, and no temporary file is left. For each command and kind (once, persistently) an
errno and an n are drawn; `--faults all` tries every one (`-n 2` shares them out).
"""

from __future__ import annotations

import errno
import importlib.util
import itertools
import json
import logging
import os
import random
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path
from typing import Any, NamedTuple

import h5py
import numpy as np
import pytest

from diffengine.analysis.results import load_analysis
from diffengine.analysis.show import dashboard
from diffengine.engine.cli import command_line as cli
from diffengine.engine.runs import writer
from diffengine.engine.runs.cluster import crew
from diffengine.engine.store import open_run, temporaries, verify_run
from diffengine.engine.store.check import verify
from diffengine.engine.store.check.shard_check import check_shard
from diffengine.engine.store.write.results import SUMS


def _beside(name: str) -> Any:
    spec = importlib.util.spec_from_file_location(name, Path(__file__).with_name(f"{name}.py"))
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    spec.loader.exec_module(module)
    return module


faulty_disk = _beside("faulty_disk")
ray_in_process = _beside("ray_in_process")
damage = _beside("damage")

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
ANALYZE = ("analyze", "{run}", "--no-mi", "--no-tsne")
COMMANDS: dict[str, tuple[str, ...]] = {
    "run": RUN,
    "resume": RUN,
    "workers": (*RUN, "--workers", "2"),
    "analyze": ANALYZE,
    "analyze again": ANALYZE,
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
SUMMED_OTHERWISE = 1e-5
"""By how much values may differ where another number of rows was decoded together."""
RESULTS = {
    "analyze": ("analysis*", "comprehensive*"),
    "analyze again": ("analysis*", "comprehensive*"),
    "report": ("report.html",),
    "export": ("export-seed/*",),
    "likelihood": ("likelihood/sequential*",),
}
"""What a command makes beside what is recorded, as patterns."""


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
        ours = logging.getLogger("diffengine")
        handlers = ours.handlers[:]
        # pytest's own would keep every record, and with its error the model of a dead worker.
        of_pytest, logging.root.handlers = logging.root.handlers, [logging.NullHandler()]
        try:
            cli.main()
            self.code: Any = 0
        except SystemExit as end:
            self.code = end.code or 0
        finally:
            sys.argv, sys.path[:] = before, path
            logging.root.handlers = of_pytest
            for handler in set(ours.handlers) - set(handlers):  # of workers, which would be gone
                ours.removeHandler(handler)
                handler.close()
            said = capsys.readouterr()
            self.out, self.err = said.out, said.err


@pytest.fixture(scope="module")
def pictures() -> dict[str, bytes]:
    """What has been drawn, by what was drawn."""
    return {}


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch, pictures: dict[str, bytes]) -> None:
    """No waiting for a disk to become free, no second process for each look into a shard, workers
    in this one, no picture drawn twice (nine tenths of `analyze`)."""
    draw = dashboard.render_dashboard

    def drawn(analysis: Any, **options: Any) -> bytes:
        what = damage._digest(analysis)
        if what not in pictures:
            pictures[what] = draw(analysis, **options)
        return pictures[what]

    def end_process(code: int) -> None:
        raise AssertionError(f"a worker ended its process with {code}")

    monkeypatch.setattr(dashboard, "render_dashboard", drawn)
    monkeypatch.setattr(os, "_exit", end_process)
    monkeypatch.setattr(crew, "started_ray", ray_in_process.started_ray)
    monkeypatch.setattr(writer, "BACK_OFF_SECONDS", (0.0, 0.0))
    checked = lambda paths, info, **_: (check_shard(path, info) for path in paths)  # noqa: E731
    monkeypatch.setattr(verify, "checked_shards", checked)
    monkeypatch.setattr("diffengine.engine.store.check.resume.checked_shards", checked)
    monkeypatch.setattr("signal.signal", lambda *_: None)


ONE_AFTER_THE_OTHER = """
import json, sys
from diffengine.engine.cli.command_line import main
for sys.argv in json.loads(sys.argv[1]):
    try:
        main()
    except SystemExit as end:
        assert not end.code, (sys.argv, end.code)
"""


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What every command must end with; made by another process, where no disk is faulty."""
    out = tmp_path_factory.mktemp("finished") / "run"
    commands = [
        ["diffengine", *(part.format(run=out) for part in COMMANDS[name])]
        for name in ("run", "analyze", "report", "export", "likelihood")
    ]
    program = [sys.executable, "-P", "-c", ONE_AFTER_THE_OTHER, json.dumps(commands)]
    subprocess.run(program, check=True, capture_output=True)
    return out


def prepare(command: str, finished: Path, run_dir: Path) -> None:
    """The run as the command finds it: nothing, half, whole, or with something to repair."""
    shutil.rmtree(run_dir, ignore_errors=True)
    if command in ("run", "workers"):
        return
    shutil.copytree(finished, run_dir)
    if command == "resume":
        shutil.rmtree(run_dir / "shards")
        (run_dir / "tokens.json").unlink()
    if command == "analyze":
        for path in (*results_in(run_dir, command), *results_in(run_dir, "report")):
            path.unlink()
        (run_dir / SUMS).unlink()
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


def results_in(run_dir: Path, command: str) -> list[Path]:
    """The files that a command makes beside what is recorded."""
    return [path for pattern in RESULTS.get(command, ()) for path in sorted(run_dir.glob(pattern))]


def contents(run_dir: Path, command: str) -> dict[str, Any]:
    """What stands in them, without the hour at which it was written."""
    return {path.name: content_of(path) for path in results_in(run_dir, command)}


def content_of(path: Path) -> Any:
    if path.name == "analysis.h5":
        return damage._digest(load_analysis(path))
    if path.suffix == ".pt":
        with zipfile.ZipFile(path) as archive:
            return {member: archive.read(member) for member in archive.namelist()}
    return path.read_bytes()


def assert_same_values(
    run_dir: Path, command: str, expected: dict[str, Any], files: dict[str, Any], what: str
) -> None:
    """Everything that a command that never met a fault leaves is there, and the same."""
    recorded = values(run_dir)
    assert recorded.keys() == expected.keys(), what
    for name, array in expected.items():
        message = f"{what}: {name}"
        if name in RANDOM_OR_TIMED:
            continue
        if command == "workers" and array.dtype.kind == "f":
            np.testing.assert_allclose(
                recorded[name], array, atol=SUMMED_OTHERWISE, err_msg=message
            )
        else:
            np.testing.assert_array_equal(recorded[name], array, err_msg=message)
    there = contents(run_dir, command)
    assert there.keys() == files.keys(), what
    assert [name for name in files if there[name] != files[name]] == [], what


def assert_clear(outcome: Outcome, command: str, what: str) -> None:
    """Exit code 0 or 1 (3: some problems failed is none of it), and one sentence in the second
    case; `verify` may instead name what it sees."""
    assert outcome.code in (0, 1), f"{what}: exit code {outcome.code}: {outcome.err}"
    said = outcome.err + outcome.out
    assert "Traceback" not in said and "--- Logging error" not in said, f"{what}: {said}"
    if outcome.code and not (command == "verify" and "error: " in outcome.out):
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


class Whole(NamedTuple):
    """A command on a faulty disk and all that it must leave in the end."""

    command: str
    run_dir: Path
    recorded: dict[str, Any]
    files: dict[str, Any]

    def again(self, capsys: pytest.CaptureFixture[str]) -> Outcome:
        return Outcome(COMMANDS[self.command], self.run_dir, capsys)

    def assert_sound(self, what: str) -> None:
        """Of what is published nothing is wrong."""
        if any(self.run_dir.glob("shards/*.h5")):
            report = verify_run(self.run_dir)
            assert report.ok, f"{what}: {report.findings}"

    def assert_there(self, what: str) -> None:
        """Everything is there and as it should be."""
        report = verify_run(self.run_dir)
        assert report.complete, f"{what}: {report.findings} {report.missing}"
        assert_same_values(self.run_dir, self.command, self.recorded, self.files, what)

    def assert_swept(self, what: str) -> None:
        """No temporary file outlives the process that met the fault, which is this one."""
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(temporaries, "is_stale", lambda path: True)
            temporaries.sweep_temporaries(self.run_dir)
        assert [path.name for path in self.run_dir.rglob("*.tmp*")] == [], what


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
    run_dir = tmp_path / "place" / "run"
    run_dir.parent.mkdir()
    whole = Whole(command, run_dir, values(finished), contents(finished, command))
    disk = faulty_disk.FaultyDisk(run_dir.parent, monkeypatch)
    if command not in lengths:
        prepare(command, finished, run_dir)
        disk.fail(0, 0, persistent=False)
        outcome = whole.again(capsys)
        assert outcome.code == (1 if command == "verify" else 0), (outcome.err, outcome.out)
        lengths[command] = len(disk.calls)
        whole.assert_there(command)
    assert lengths[command] > 15, command
    wrong: list[str] = []
    for n in places(lengths[command], every_fault, f"{faults_seed} {command} {code} {persistent}"):
        prepare(command, finished, run_dir)
        disk.fail(n, code, persistent=persistent)
        outcome = whole.again(capsys)
        call = disk.calls[n - 1] if disk.met else "not met"
        disk.fail(0, 0, persistent=False)
        and_after = " and all after" if persistent else ""
        what = f"{command}: call {n} ({call}) {errno.errorcode[code]}{and_after}"
        try:
            assert_clear(outcome, command, what)
            if command != "verify":
                whole.assert_sound(what)
                if outcome.code == 0:
                    whole.assert_there(f"{what}, which was no failure")
            again = whole.again(capsys)
            assert again.code == 0 or command == "verify", f"{what}: {again.err}"
            whole.assert_there(what)
            whole.assert_swept(what)
        except AssertionError as error:
            wrong.append(str(error))
    assert not wrong, f"{len(wrong)} faults (seed {faults_seed}):\n" + "\n\n".join(wrong)


def places(length: int, every_fault: bool, seed: str) -> list[int]:
    """Which calls fail, from 1: all, or one drawn."""
    return list(range(1, length + 1)) if every_fault else [random.Random(seed).randint(1, length)]


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
