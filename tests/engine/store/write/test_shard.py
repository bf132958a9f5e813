"""Writing a shard: what comes back is what went in, faults are named before anything is written,
nothing is lost."""

from __future__ import annotations

import contextlib
import errno
import gc
import hashlib
import os
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from diffengine.engine.store import ColumnsError, StorageError, open_run, verify_run, write_shard
from diffengine.engine.store.format import seal
from diffengine.engine.store.format.output_head import write_head
from diffengine.engine.store.write.hidden_sums import GroupSum
from diffengine.engine.store.write.manifest import read_manifests


@pytest.mark.parametrize("bf16", [False, True])
@pytest.mark.parametrize("extras", [False, True])
def test_every_variable_comes_back_as_it_was(
    run_dir: Path, samples: SimpleNamespace, bf16: bool, extras: bool
) -> None:
    columns = samples.columns([0, 1, 2], bf16=bf16, extras=extras)
    write_shard(run_dir, columns, attrs=samples.attrs)
    run = open_run(run_dir)
    for name, column in columns.items():
        if name == "hidden_sum":
            np.testing.assert_array_equal(run.shard_sum(name)[0].astype(np.float32), column)
        elif isinstance(column, list):
            assert run[name][...].tolist() == column
        elif column.dtype == np.uint16:
            np.testing.assert_array_equal(samples.bits(run[name][...]), column)
        else:
            assert run[name].dtype == column.dtype
            np.testing.assert_array_equal(run[name][...], column)


def test_all_bfloat16_bit_patterns_survive(run_dir: Path, samples: SimpleNamespace) -> None:
    columns = samples.columns(
        [0], bf16=True, extras=True, shape=samples.Shape(steps=8, positions=32, features=256)
    )
    patterns = np.arange(65536, dtype=np.uint16).reshape(1, 8, 32, 256)
    write_shard(run_dir, {**columns, "hidden": patterns}, attrs=samples.attrs)
    values = open_run(run_dir)["hidden"][...]
    np.testing.assert_array_equal(values.view(np.uint32) >> 16, patterns)
    assert not (values.view(np.uint32) & 0xFFFF).any()


def test_entry_and_manifest_tell_the_truth(run_dir: Path, samples: SimpleNamespace) -> None:
    entry = write_shard(run_dir, samples.columns([5, 3]), attrs=samples.attrs, worker="gpu1")
    content = (run_dir / "shards" / entry.name).read_bytes()
    assert entry.bytes == len(content) and entry.sha256 == hashlib.sha256(content).hexdigest()
    assert entry.problem_ids == ("p0005", "p0003")
    assert read_manifests(run_dir).entries == {entry.name: entry}
    assert [path.name for path in (run_dir / "shards").iterdir()] == [entry.name]


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (
            lambda columns: columns.update(entropie=columns["entropy"]),
            "unknown variable 'entropie'",
        ),
        (lambda columns: columns.pop("entropy"), "missing variable 'entropy'"),
        (
            lambda columns: columns.update(entropy=columns["entropy"].astype(np.float64)),
            "entropy: dtype float64, expected float32",
        ),
        (
            lambda columns: columns.update(token=columns["token"].astype(np.int64)),
            "token: dtype int64, expected int32",
        ),
        (
            lambda columns: columns.update(state_masked=columns["state_masked"].astype(np.float16)),
            "expected float32 or uint16",
        ),
        (
            lambda columns: columns.update(state_masked=np.zeros((2, 6, 5), np.uint16)),
            "state_masked uint16",
        ),
        (lambda columns: columns.update(entropy=columns["entropy"][:, :-1]), "step is 5, but 6"),
        (
            lambda columns: columns.update(entropy=columns["entropy"][0]),
            r"expected the dimensions \[problem, step, position\]",
        ),
        (lambda columns: columns.update(problem_id=["a", "a"]), "'a' occurs more than once"),
        (lambda columns: columns.update(problem_id=["a", "b\0"]), "holds a NUL"),
        (lambda columns: columns.update(problem_id=["a", 3]), "expected strings, got int"),
        (lambda columns: columns.update(generated_text=["a"]), "problem is 1, but 2"),
    ],
)
def test_wrong_columns_are_named_and_nothing_is_written(
    run_dir: Path, samples: SimpleNamespace, spoil, message: str
) -> None:
    columns = samples.columns([0, 1])
    spoil(columns)
    with pytest.raises(ColumnsError, match=message):
        write_shard(run_dir, columns, attrs=samples.attrs)
    assert not (run_dir / "shards").exists()


def test_all_faults_come_in_one_error(run_dir: Path, samples: SimpleNamespace) -> None:
    columns = samples.columns([0, 1])
    del columns["kl"]
    columns["surprise"] = columns["margin"] = np.zeros(3)
    with pytest.raises(ColumnsError) as caught:
        write_shard(run_dir, columns, attrs=samples.attrs)
    assert all(word in str(caught.value) for word in ("kl", "surprise", "margin"))


def test_run_and_configuration_must_be_named(run_dir: Path, samples: SimpleNamespace) -> None:
    with pytest.raises(ColumnsError, match="fingerprint"):
        write_shard(run_dir, samples.columns([0]), attrs={"run_id": "x"})
    with pytest.raises(ColumnsError, match="worker"):
        write_shard(run_dir, samples.columns([0]), attrs=samples.attrs, worker="../evil")


def test_text_that_hdf5_cannot_hold(run_dir: Path, samples: SimpleNamespace) -> None:
    columns = samples.columns([0]) | {"generated_text": ["a\0b\ud800c\U0001f600"]}
    write_shard(run_dir, columns, attrs=samples.attrs)
    assert open_run(run_dir)["generated_text"][0] == "a\u2400b\ufffdc\U0001f600"


def test_problems_without_any_gold_answer(run_dir: Path, samples: SimpleNamespace) -> None:
    columns = samples.columns([0, 1], shape=samples.Shape(answers=0))
    write_shard(run_dir, columns, attrs=samples.attrs)
    run = open_run(run_dir)
    assert run["answer_token_id"][...].tolist() == [[-1], [-1]]
    assert np.isnan(run["answer_logprob"][...]).all()


def views_of_buffers() -> list[memoryview]:
    """Views of an `io.BytesIO` that are still held; a released one has no `obj`."""
    views = []
    for thing in gc.get_objects():
        if isinstance(thing, memoryview):
            with contextlib.suppress(ValueError):
                views += [thing] * (type(thing.obj).__name__ == "_BytesIOBuffer")
    return views


@pytest.mark.parametrize("part", ["shard", "sum", "head", "seal"])
def test_an_error_carries_no_view_of_a_buffer_away(
    part: str, run_dir: Path, samples: SimpleNamespace, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Collected in a cycle, such a view ends the process in some versions of Python 3.12."""

    def refuse(*_: object, **__: object) -> None:
        raise OSError(errno.EACCES, os.strerror(errno.EACCES))

    if part == "seal":
        monkeypatch.setattr(seal, "_outside", refuse)
    else:
        monkeypatch.setattr(os, "write", refuse)
    with pytest.raises((StorageError, OSError)) as caught:
        if part == "head":
            write_head(run_dir, np.zeros((4, 3), np.float32))
        elif part == "sum":
            sums = GroupSum(run_dir, worker="0", attrs=samples.attrs)
            sums.write("0-000000.h5", np.zeros((2, 3, 4), np.float32))
        else:
            write_shard(run_dir, samples.columns([0]), attrs=samples.attrs)
    assert caught.value.errno == errno.EACCES
    assert views_of_buffers() == []


@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EDQUOT, errno.EIO])
def test_a_refusing_disk_leaves_no_trace(
    stored: Path, samples: SimpleNamespace, monkeypatch: pytest.MonkeyPatch, code: int
) -> None:
    before = {path: path.read_bytes() for path in stored.rglob("*") if path.is_file()}
    size = len(next(content for path, content in before.items() if path.suffix == ".h5"))
    really_write = os.write
    for room in np.linspace(0, 0.9 * size, 7).astype(int):
        left = [int(room)]

        def write_until_full(descriptor: int, data: memoryview, left: list[int] = left) -> int:
            if left[0] == 0:
                raise OSError(code, os.strerror(code))
            done = really_write(descriptor, bytes(data[: left[0]]))
            left[0] -= done
            return done

        monkeypatch.setattr(os, "write", write_until_full)
        with pytest.raises(StorageError) as caught:
            write_shard(
                stored, samples.columns([6, 7], bf16=True, extras=True), attrs=samples.attrs
            )
        monkeypatch.undo()
        assert (
            caught.value.errno == code
            and "bytes needed" in str(caught.value)
            and "run the same command again" in str(caught.value)
        )
        assert {path: path.read_bytes() for path in stored.rglob("*") if path.is_file()} == before


def test_disk_that_fills_before_the_manifest_line(
    stored: Path, samples: SimpleNamespace, monkeypatch: pytest.MonkeyPatch
) -> None:
    """All or nothing: the shard goes too, so that a second try makes no duplicate."""
    before = {path: path.read_bytes() for path in stored.rglob("*") if path.is_file()}
    really_write = os.write

    def no_room_for_manifests(descriptor: int, data: memoryview) -> int:
        if bytes(data[:1]) == b"{":
            really_write(descriptor, bytes(data[:20]))
            raise OSError(errno.ENOSPC, "full")
        return really_write(descriptor, data)

    monkeypatch.setattr(os, "write", no_room_for_manifests)
    with pytest.raises(StorageError, match=r"manifest-0\.jsonl: the disk is full"):
        write_shard(stored, samples.columns([6, 7], bf16=True, extras=True), attrs=samples.attrs)
    monkeypatch.undo()
    assert {path: path.read_bytes() for path in stored.rglob("*") if path.is_file()} == before
    write_shard(stored, samples.columns([6, 7], bf16=True, extras=True), attrs=samples.attrs)
    assert verify_run(stored).complete


def test_limit_on_file_size_is_an_error_not_a_crash(
    run_dir: Path, samples: SimpleNamespace
) -> None:
    """The kernel itself refuses (EFBIG), in a process of its own, after a shard that fits."""
    code = f"""
import resource, runpy, signal, sys
sys.path[:] = {[entry for entry in sys.path if entry]!r}
make = runpy.run_path({samples.file!r})
from pathlib import Path
from diffengine.engine.store import StorageError, write_shard
run = Path({str(run_dir)!r})
write_shard(run, make["make_columns"]([0]), attrs=make["ATTRS"])
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (20000, 20000))
try:
    write_shard(run, make["make_columns"]([1, 2]), attrs=make["ATTRS"])
except StorageError as error:
    assert "20,000" not in str(error) and "larger than" in str(error), error
    sys.exit(7)
"""
    assert subprocess.run([sys.executable, "-I", "-c", code], check=False).returncode == 7
    assert open_run(run_dir).ids == ["p0000"]
    assert len(list((run_dir / "shards").iterdir())) == 1


def test_without_hard_links_the_shard_is_renamed(
    run_dir: Path, samples: SimpleNamespace, monkeypatch: pytest.MonkeyPatch
) -> None:
    def unsupported(source: Path, target: Path) -> None:
        raise OSError(errno.EPERM, "no hard links here")

    monkeypatch.setattr(os, "link", unsupported)
    entry = write_shard(run_dir, samples.columns([0]), attrs=samples.attrs)
    assert [path.name for path in (run_dir / "shards").iterdir()] == [entry.name]


def test_numbers_go_on_where_the_worker_stopped(run_dir: Path, samples: SimpleNamespace) -> None:
    names = [
        write_shard(run_dir, samples.columns([index]), attrs=samples.attrs, worker="a").name[:8]
        for index in range(3)
    ]
    assert names == ["a-000000", "a-000001", "a-000002"]
    assert write_shard(
        run_dir, samples.columns([3]), attrs=samples.attrs, worker="a-b"
    ).name.startswith("a-b-000000")
