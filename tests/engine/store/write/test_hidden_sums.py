"""Sums of hidden states in files of their own: over every shard once, whatever is killed, repeated
or damaged."""

from __future__ import annotations

import itertools
import os
import shutil
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from diffengine.engine.store import (
    DamagedRun,
    StorageError,
    open_run,
    resume_run,
    set_aside_repeats,
    verify_run,
    write_shard,
)
from diffengine.engine.store.write import hidden_sums, shard
from diffengine.engine.store.write.hidden_sums import (
    GroupSum,
    SumFile,
    in_force,
    read_sum_file,
    sum_paths,
)


@pytest.fixture
def wide_groups(monkeypatch: pytest.MonkeyPatch) -> None:
    """Groups that never fill, as at LLaDA-8B's shape; the shards here are many times their tiny
    sums."""
    monkeypatch.setattr(hidden_sums, "SUM_RATIO", 10**9)
    monkeypatch.setattr(hidden_sums, "SMALL_BYTES", 0)


def write(
    run_dir: Path, group: GroupSum, samples: SimpleNamespace, indices: list[int], worker: str = "0"
) -> np.ndarray:
    """A shard of these problems, whose sum goes to the group's file; returns their hidden
    states."""
    columns: dict[str, Any] = samples.columns(indices, extras=True)
    part = columns.pop("hidden_sum")
    write_shard(run_dir, columns, attrs=samples.attrs, worker=worker, sums=group, hidden_sum=part)
    return np.asarray(columns["hidden"])


def test_a_group_has_one_sum_over_all_its_shards(
    run_dir: Path, samples: SimpleNamespace, wide_groups: None
) -> None:
    group = GroupSum(run_dir, samples.attrs, "0")
    hidden = [write(run_dir, group, samples, indices) for indices in ([0, 1], [2], [3, 4], [5])]
    run = open_run(run_dir)
    assert "hidden_sum" in run
    total, n_problems = run.shard_sum("hidden_sum")
    assert n_problems == 6
    np.testing.assert_allclose(total, np.concatenate(hidden).sum(0, dtype=np.float64), atol=1e-5)
    # The file before the last stays until the next; all older ones are gone.
    assert [len(read_sum_file(path).shards) for path in sum_paths(run_dir)] == [3, 4]
    assert verify_run(run_dir).findings == []
    resume_run(run_dir, fingerprint=samples.attrs["fingerprint"])
    assert [len(read_sum_file(path).shards) for path in sum_paths(run_dir)] == [4]


def test_a_group_is_full_when_its_shards_outweigh_the_sum(
    run_dir: Path, samples: SimpleNamespace
) -> None:
    group = GroupSum(run_dir, samples.attrs, "0")
    for indices in ([0, 1], [2], [3, 4]):
        write(run_dir, group, samples, indices)
    assert [len(read_sum_file(path).shards) for path in sum_paths(run_dir)] == [1, 1, 1]
    assert open_run(run_dir).shard_sum("hidden_sum")[1] == 5


@pytest.mark.parametrize("moment", ["before the sum", "before the shard's name", "before the line"])
def test_killed_anywhere_the_sum_is_of_the_shards_that_are_there(
    run_dir: Path,
    samples: SimpleNamespace,
    wide_groups: None,
    monkeypatch: pytest.MonkeyPatch,
    moment: str,
) -> None:
    class Killed(BaseException):
        pass

    def kill(*_: object, **__: object) -> None:
        raise Killed

    group = GroupSum(run_dir, samples.attrs, "0")
    hidden = [write(run_dir, group, samples, indices) for indices in ([0, 1], [2])]
    where = {
        "before the sum": (GroupSum, "write"),
        "before the shard's name": (shard, "_give_name"),
        "before the line": (shard, "append_entry"),
    }
    with monkeypatch.context() as patch, pytest.raises(Killed):
        patch.setattr(*where[moment], kill)
        write(run_dir, group, samples, [3])
    if moment == "before the line":
        hidden.append(np.asarray(samples.columns([3], extras=True)["hidden"]))
    for when in ("at once", "after resuming", "after going on"):
        if when == "after resuming":
            resume_run(run_dir, fingerprint=samples.attrs["fingerprint"])
        if when == "after going on":
            fresh = GroupSum(run_dir, samples.attrs, "0")
            hidden += [write(run_dir, fresh, samples, indices) for indices in ([4], [5, 6])]
        total, n_problems = open_run(run_dir).shard_sum("hidden_sum")
        assert n_problems == sum(len(states) for states in hidden)
        np.testing.assert_allclose(
            total, np.concatenate(hidden).sum(0, dtype=np.float64), atol=1e-5
        )
    assert verify_run(run_dir).ok


def test_a_disk_that_refuses_the_sum_leaves_the_group_as_it_was(
    run_dir: Path, samples: SimpleNamespace, wide_groups: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    group = GroupSum(run_dir, samples.attrs, "0")
    hidden = [write(run_dir, group, samples, [0, 1])]

    def refuse(source: Path, target: Path) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch, pytest.raises(StorageError, match="the disk is full"):
        patch.setattr(os, "replace", refuse)
        write(run_dir, group, samples, [2])
    assert not list((run_dir / "sums").glob(".*")) and not list((run_dir / "shards").glob(".*"))
    hidden.append(write(run_dir, group, samples, [2]))
    total, n_problems = open_run(run_dir).shard_sum("hidden_sum")
    assert n_problems == 3
    np.testing.assert_allclose(total, np.concatenate(hidden).sum(0, dtype=np.float64), atol=1e-5)


def test_the_last_shard_of_a_worker_given_up_may_go_again(
    run_dir: Path, samples: SimpleNamespace, wide_groups: None
) -> None:
    lost = GroupSum(run_dir, samples.attrs, "w0")
    other = GroupSum(run_dir, samples.attrs, "w1")
    hidden = [
        write(run_dir, lost, samples, [0, 1], "w0"),
        write(run_dir, other, samples, [2, 3, 4], "w1"),
    ]
    write(run_dir, lost, samples, [3, 4, 5, 6], "w0")  # handed to w1 meanwhile; larger than w1's
    hidden.append(write(run_dir, other, samples, [7], "w1"))
    with pytest.raises(DamagedRun, match="counts them twice"):
        open_run(run_dir).shard_sum("hidden_sum")
    repeats = set_aside_repeats(run_dir)
    assert len(repeats.names) == 1 and repeats.lost == {"p0005", "p0006"}
    total, n_problems = open_run(run_dir).shard_sum("hidden_sum")
    assert n_problems == 6
    np.testing.assert_allclose(total, np.concatenate(hidden).sum(0, dtype=np.float64), atol=1e-5)


def test_shards_with_sums_in_them_and_apart_add_up(
    stored: Path, samples: SimpleNamespace, wide_groups: None
) -> None:
    """A run begun by version 0.1 and continued."""
    group = GroupSum(stored, samples.attrs, "0")
    columns: dict[str, Any] = samples.columns([6, 7], bf16=True, extras=True)
    part = columns.pop("hidden_sum")
    before, n_before = open_run(stored).shard_sum("hidden_sum")
    write_shard(stored, columns, attrs=samples.attrs, worker="0", sums=group, hidden_sum=part)
    total, n_problems = open_run(stored).shard_sum("hidden_sum")
    assert (n_before, n_problems) == (6, 8)
    np.testing.assert_allclose(total, before + part, atol=1e-5)
    assert verify_run(stored).findings == []


def test_any_flipped_byte_of_a_sum_is_found(run_dir: Path, samples: SimpleNamespace) -> None:
    write(run_dir, GroupSum(run_dir, samples.attrs, "0"), samples, [0, 1])
    (path,) = sum_paths(run_dir)
    whole = path.read_bytes()
    truth = open_run(run_dir).shard_sum("hidden_sum")[0]
    start = whole.index(truth.astype(np.float32).tobytes())
    numbers = range(start, start + truth.size * 4)
    for place in np.random.default_rng(3).choice(len(whole), 150, replace=False):
        broken = bytearray(whole)
        broken[place] ^= 1 << int(place) % 8
        path.write_bytes(bytes(broken))
        try:
            total = open_run(run_dir).shard_sum("hidden_sum")[0]
        except DamagedRun:
            continue
        assert np.array_equal(total, truth), place  # a byte that nobody reads
        assert place not in numbers


def test_a_damaged_or_wrong_sum_is_named_and_set_aside(
    run_dir: Path, samples: SimpleNamespace, wide_groups: None
) -> None:
    columns: dict[str, Any] = samples.columns([0, 1], extras=True)
    part = columns.pop("hidden_sum")
    group = GroupSum(run_dir, samples.attrs, "0")
    write_shard(run_dir, columns, attrs=samples.attrs, sums=group, hidden_sum=2 * part)
    (finding,) = verify_run(run_dir).findings
    assert finding.shard == "sums/0-000000.h5" and "is not the sum over" in finding.what
    assert verify_run(run_dir, repair=True).repaired == ["sums/0-000000.h5: moved to quarantine/"]
    assert "hidden_sum" not in open_run(run_dir) and len(open_run(run_dir)) == 2


def test_a_shard_in_no_sum_is_named(
    samples: SimpleNamespace, tmp_path: Path, wide_groups: None
) -> None:
    run_dir = samples.run_dir(tmp_path / "run", config={"mean_hidden": True})
    group = GroupSum(run_dir, samples.attrs, "0")
    write(run_dir, group, samples, [0, 1])
    write(run_dir, GroupSum(run_dir, samples.attrs, "1"), samples, [2], "1")
    assert verify_run(run_dir).findings == []
    sum_paths(run_dir)[0].unlink()
    (finding,) = verify_run(run_dir).findings
    assert (
        finding.severity == "warning"
        and "no sum of hidden states is over its 2 problems" in finding.what
    )
    with pytest.raises(DamagedRun, match="lacks its 2 problems"):
        open_run(run_dir).shard_sum("hidden_sum")
    shutil.rmtree(run_dir / "sums")
    assert "hidden_sum" not in open_run(run_dir)


def test_what_is_in_force_counts_no_shard_twice_and_none_that_is_not_there() -> None:
    """All families of files over four shards in two groups, against the rule in words."""
    nested = [("a",), ("a", "b"), ("a", "b", "c"), ("d",)]
    files = [SumFile(Path(f"{number}.h5"), shards) for number, shards in enumerate(nested)]
    for there in itertools.chain.from_iterable(itertools.combinations("abcd", n) for n in range(5)):
        counted = [name for file in in_force(files, there) for name in file.shards]
        first = max(
            (shards for shards in nested[:3] if set(shards) <= set(there)), key=len, default=()
        )
        assert sorted(counted) == sorted([*first, *(("d",) if "d" in there else ())])
