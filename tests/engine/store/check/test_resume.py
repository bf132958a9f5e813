"""Resuming: done is what sound shards hold, damage is put aside, and kill -9 loses nothing that was
published."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace

import h5py
import numpy as np
import pytest

from diffengine.engine.store import (
    DamagedRun,
    completed_ids,
    open_run,
    resume_run,
    sweep_temporaries,
    verify_run,
    write_shard,
)
from diffengine.engine.store.disk import file_sha256
from diffengine.engine.store.format.seal import is_sealed
from diffengine.engine.store.process import this_process
from diffengine.engine.store.write.manifest import read_manifests

ALL = {f"p{index:04d}" for index in range(6)}


def test_done_are_the_problems_in_sound_shards(stored: Path, run_dir: Path) -> None:
    assert completed_ids(stored, fingerprint="f00d") == ALL
    shard = sorted((stored / "shards").iterdir())[0]
    content = bytearray(shard.read_bytes())
    content[len(content) // 2] ^= 1
    shard.write_bytes(content)
    assert completed_ids(stored, fingerprint="f00d") == ALL - {"p0000", "p0001"}
    assert shard.exists()


def test_nothing_is_done_in_a_new_run(run_dir: Path) -> None:
    assert completed_ids(run_dir, fingerprint="f00d") == set()
    assert resume_run(run_dir, fingerprint="f00d").done == set()


def test_shards_without_lines_are_checked_and_adopted(stored: Path) -> None:
    entries = read_manifests(stored).entries
    (stored / "manifest-0.jsonl").unlink()
    assert completed_ids(stored, fingerprint="f00d") == ALL
    assert read_manifests(stored).entries != entries
    assert resume_run(stored, fingerprint="f00d").done == ALL
    assert read_manifests(stored).entries == entries


def test_resume_puts_damage_aside(stored: Path, samples: SimpleNamespace) -> None:
    first, second, third = sorted((stored / "shards").iterdir())
    os.truncate(first, 1000)
    second.unlink()
    (stored / "shards" / "0-000077-00000000.h5").write_bytes(b"junk")
    resumed = resume_run(stored, fingerprint="f00d")
    assert resumed.done == {"p0002", "p0003"} and set(resumed.quarantined) == {
        first.name,
        second.name,
        "0-000077-00000000.h5",
    }
    assert verify_run(stored).findings == [] and len(open_run(stored)) == 2
    write_shard(stored, samples.columns([0, 1, 4, 5], bf16=True, extras=True), attrs=samples.attrs)
    assert verify_run(stored).missing == ["p0006", "p0007"]


@pytest.mark.parametrize("with_manifest", [True, False])
def test_another_configuration_is_refused_untouched(stored: Path, with_manifest: bool) -> None:
    if not with_manifest:
        for path in stored.glob("manifest-*"):
            path.unlink()
    before = sorted(stored.rglob("*"))
    for call in (completed_ids, resume_run):
        with pytest.raises(DamagedRun, match="another configuration"):
            call(stored, fingerprint="beef")
    assert sorted(stored.rglob("*")) == before


def test_temporary_files_of_the_dead_and_the_old_are_swept(stored: Path) -> None:
    shards = stored / "shards"
    own, dead, foreign, old = (
        shards / f".{name}.3.tmp"
        for name in (
            this_process(),
            this_process()._replace(pid=2**22 + 7),
            this_process()._replace(host="elsewhere"),
            "rubbish",
        )
    )
    for path in (own, dead, foreign, old):
        path.write_bytes(b"x")
    os.utime(old, (time.time() - 7200,) * 2)
    assert set(sweep_temporaries(stored)) == {dead, old}
    assert own.exists() and foreign.exists()


_MAKE = """
import os, runpy, signal, sys, time
import numpy as np
sys.path[:] = {path!r}
make = runpy.run_path({file!r})
from pathlib import Path
from diffengine.engine.store import resume_run, write_shard
run = Path({run!r})
shape = make["Shape"](steps=3, positions=3, k=2, features=2)

def write_on(done):
    for first in range(0, 3000, 2):
        if f"p{{first:04d}}" not in done:
            columns = make["make_columns"]([first, first + 1], shape=shape)
            entry = write_shard(run, columns, attrs=make["ATTRS"])
            os.write(1, (entry.name + "\\n").encode())
"""

_KILLED = """
rng = np.random.default_rng(0)
rounds = 0
while rounds < 30 or (rounds < 300 and len(list(run.glob("shards/*.h5"))) < 10):  # a busy machine
    rounds += 1
    done = resume_run(run, fingerprint="f00d").done
    child = os.fork()
    if child == 0:
        write_on(done)
    time.sleep(float(rng.uniform(0.01, 0.2)))
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
"""


def python(code: str, run_dir: Path, samples: SimpleNamespace) -> subprocess.Popen:
    path = [entry for entry in sys.path if entry]
    code = _MAKE.format(path=path, file=samples.file, run=str(run_dir)) + code
    return subprocess.Popen([sys.executable, "-I", "-c", code], stdout=subprocess.PIPE)


def test_killed_at_thirty_random_moments(tmp_path: Path, samples: SimpleNamespace) -> None:
    """Every acknowledged shard is there, every shard there is whole, and the next writer goes on
    without a gap."""
    run_dir = samples.run_dir(tmp_path / "run", n_problems=3000)
    acknowledged = python(_KILLED, run_dir, samples).communicate()[0].decode().splitlines()
    there = {path.name for path in (run_dir / "shards").glob("*.h5")}
    assert set(acknowledged) <= there and len(acknowledged) >= 5
    assert set(acknowledged) <= set(read_manifests(run_dir).entries)
    resumed = resume_run(run_dir, fingerprint="f00d")
    assert resumed.quarantined == {} and len(resumed.done) == 2 * len(there)
    report = verify_run(run_dir)
    assert report.findings == [] and report.n_problems == 2 * len(there)
    run = open_run(run_dir)
    assert run.ids == [f"p{index:04d}" for index in range(2 * len(there))]
    shape = samples.Shape(steps=3, positions=3, k=2, features=2)
    np.testing.assert_array_equal(
        run["entropy"][...], samples.columns(list(range(len(run))), shape=shape)["entropy"]
    )


def test_readers_while_a_writer_works(tmp_path: Path, samples: SimpleNamespace) -> None:
    """A reader sees a run that grows, always whole."""
    run_dir = samples.run_dir(tmp_path / "run", n_problems=3000)
    child = python("write_on(set())", run_dir, samples)
    try:
        assert child.stdout is not None and child.stdout.readline()
        sizes: list[int] = []
        until = time.monotonic() + 60
        while len(sizes) < 8 or (sizes[-1] == sizes[0] and time.monotonic() < until):
            with open_run(run_dir) as run:
                sizes.append(len(run))
                assert np.isfinite(run["entropy"][...]).all()
                assert run.ids == [f"p{index:04d}" for index in range(len(run))]
        assert child.stdout.readline()
    finally:
        child.kill()
        child.communicate()
    assert sizes == sorted(sizes) and sizes[-1] > sizes[0] >= 2


def test_a_shard_from_before_there_were_seals_is_known_by_the_digest_in_its_name(
    stored: Path,
) -> None:
    """An emptied manifest together with a flipped bit outside the chunks was once adopted as
    sound."""
    shard = min((stored / "shards").glob("*.h5"))
    with h5py.File(shard, "r+") as file:
        del file.attrs["sealed"]
    old = shard.rename(shard.with_name(f"0-000000-{file_sha256(shard)[:8]}.h5"))
    assert not is_sealed(old)
    for manifest in stored.glob("manifest-*"):
        os.truncate(manifest, 0)
    content = bytearray(old.read_bytes())
    content[content.find(b"p0001")] ^= 1  # another problem's id, and HDF5 says nothing
    old.write_bytes(content)
    with pytest.raises(DamagedRun, match="q0001"):
        _ = open_run(stored).problems
    assert [finding.shard for finding in verify_run(stored).findings if "name" in finding.what] == [
        old.name
    ]
    resumed = resume_run(stored, fingerprint="f00d")
    assert list(resumed.quarantined) == [old.name] and len(open_run(stored).ids) == 4
