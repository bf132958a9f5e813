"""`verify` finds every kind of damage, opens nothing whose checksum is wrong, and mends a run for a
rerun."""

from __future__ import annotations

import os
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from diffengine.engine.store import (
    DamagedRun,
    NotARun,
    RunLock,
    RunLocked,
    open_run,
    verify_run,
    write_shard,
)
from diffengine.engine.store.check.audit import audit_files
from diffengine.engine.store.disk import file_sha256
from diffengine.engine.store.format.output_head import write_head
from diffengine.engine.store.process import ProcessName, this_process
from diffengine.engine.store.write.manifest import read_manifests


def shards_of(run_dir: Path) -> list[Path]:
    return sorted((run_dir / "shards").glob("*.h5"))


def errors(run_dir: Path, **options: bool) -> list[tuple[str, str]]:
    return [
        (finding.shard, finding.what)
        for finding in verify_run(run_dir, **options).findings
        if finding.severity == "error"
    ]


@pytest.mark.parametrize("quick", [True, False])
def test_a_sound_unfinished_run(stored: Path, quick: bool) -> None:
    report = verify_run(stored, quick=quick)
    assert report.ok and not report.complete and report.findings == [] and report.repaired == []
    assert (report.n_shards, report.n_problems, report.expected, report.missing) == (
        3,
        6,
        8,
        ["p0006", "p0007"],
    )


def test_a_complete_run(stored: Path, samples: SimpleNamespace) -> None:
    write_shard(stored, samples.columns([6, 7], bf16=True, extras=True), attrs=samples.attrs)
    assert verify_run(stored).complete and verify_run(stored, quick=True).complete


def test_every_single_bit_flip_is_found(stored: Path) -> None:
    shard = shards_of(stored)[0]
    content, rng = shard.read_bytes(), np.random.default_rng(0)
    manifests = read_manifests(stored)
    for bit in rng.choice(8 * len(content), 400, replace=False).tolist():
        spoilt = bytearray(content)
        spoilt[bit // 8] ^= 1 << bit % 8
        shard.write_bytes(spoilt)
        assert list(audit_files(stored, manifests, checksums=True).damaged) == [shard.name]
    report = verify_run(stored)
    assert not report.ok and [finding.shard for finding in report.findings] == [shard.name]
    assert (
        report.missing == ["p0000", "p0001", "p0006", "p0007"]
        and "sha256" in report.findings[0].what
    )
    shard.write_bytes(content)
    assert verify_run(stored).ok


def test_flips_without_a_manifest_are_found_where_values_are_stored(stored: Path) -> None:
    """Without a checksum of the whole file HDF5's own checksums still guard the numbers."""
    import h5py

    for path in stored.glob("manifest-*"):
        path.unlink()
    shard = shards_of(stored)[0]
    with h5py.File(shard) as file:
        chunk = file["hidden"].id.get_chunk_info(3)
    content = bytearray(shard.read_bytes())
    content[chunk.byte_offset + chunk.size // 2] ^= 4
    shard.write_bytes(content)
    assert [name for name, _ in errors(stored)] == [shard.name]


def test_garbage_under_a_shards_name_is_found(stored: Path) -> None:
    garbage = stored / "shards" / "0-000009-00000000.h5"
    for content in (b"", b"\x89HDF\r\n\x1a\n" + bytes(500), bytes(5000)):
        garbage.write_bytes(content)
        assert [name for name, _ in errors(stored)] == [garbage.name]


@pytest.mark.parametrize("quick", [True, False])
def test_truncated_grown_and_missing_shards(stored: Path, quick: bool) -> None:
    first, second, third = shards_of(stored)
    os.truncate(first, first.stat().st_size - 1)
    with second.open("ab") as stream:
        stream.write(b"\0")
    third.unlink()
    found = dict(errors(stored, quick=quick))
    assert set(found) == {first.name, second.name, third.name}
    assert (
        "manifest says" in found[first.name]
        and "manifest says" in found[second.name]
        and "not there" in found[third.name]
    )


def test_repair_leaves_a_run_that_opens_and_can_be_finished(
    stored: Path, samples: SimpleNamespace
) -> None:
    first, second, third = shards_of(stored)
    first.write_bytes(first.read_bytes()[:-100])
    third.unlink()
    with (stored / "manifest-0.jsonl").open("a") as stream:
        stream.write('{"name": "half')
    report = verify_run(stored, repair=True)
    assert not report.ok and len(report.repaired) == 2
    assert (stored / "quarantine" / first.name).exists() and shards_of(stored) == [second]
    assert open_run(stored).ids == ["p0004", "p0005"] and read_manifests(stored).unreadable == []
    assert verify_run(stored).findings == []
    write_shard(
        stored, samples.columns([0, 1, 2, 3, 6, 7], bf16=True, extras=True), attrs=samples.attrs
    )
    assert verify_run(stored).complete


def test_repair_adopts_a_shard_without_a_line(stored: Path) -> None:
    entries = read_manifests(stored).entries
    (stored / "manifest-1.jsonl").unlink()
    report = verify_run(stored)
    assert (
        report.ok
        and [finding.severity for finding in report.findings] == ["warning"]
        and report.n_problems == 6
    )
    assert verify_run(stored, repair=True).repaired == [
        f"{shards_of(stored)[2].name}: manifest line written"
    ]
    assert read_manifests(stored).entries == entries and verify_run(stored).findings == []


def test_repair_sets_aside_shards_that_repeat_problems(
    stored: Path, samples: SimpleNamespace
) -> None:
    extra = write_shard(
        stored, samples.columns([5, 6], bf16=True, extras=True), attrs=samples.attrs, worker="2"
    )
    report = verify_run(stored)
    assert report.ok and [(finding.shard, finding.severity) for finding in report.findings] == [
        (extra.name, "warning")
    ]
    verify_run(stored, repair=True)
    assert open_run(stored).shard_sum("hidden_sum")[1] == 6 and verify_run(stored).findings == []


def test_repair_of_a_run_in_use_is_refused(stored: Path) -> None:
    with RunLock(stored), pytest.raises(RunLocked):
        verify_run(stored, repair=True)
    verify_run(stored, repair=True)


def test_foreign_shards(stored: Path, samples: SimpleNamespace) -> None:
    other = write_shard(
        stored,
        samples.columns([6], bf16=True, extras=True),
        attrs={"run_id": "x", "fingerprint": "beef"},
        worker="7",
    )
    assert errors(stored) == [
        (other.name, "fingerprint is 'beef', run.json says 'f00d'"),
        (other.name, "run_id is 'x', run.json says 'test'"),
    ]


def test_problems_that_the_run_does_not_know(stored: Path, samples: SimpleNamespace) -> None:
    write_shard(stored, samples.columns([11], bf16=True, extras=True), attrs=samples.attrs)
    swapped = samples.columns([6, 7], bf16=True, extras=True)
    swapped["index"] = np.array([7, 6], np.int32)
    write_shard(stored, swapped, attrs=samples.attrs)
    found = [what for _, what in errors(stored)]
    assert (
        any("p0011" in what for what in found)
        and any("index disagrees" in what for what in found)
        and len(found) == 2
    )


def test_leftovers_are_notes(stored: Path) -> None:
    dead = this_process()._replace(boot="another")
    (stored / "shards" / f".{dead}.0.tmp").write_bytes(b"x")
    living = ProcessName("elsewhere", "1234", 1)
    (stored / "shards" / f".{living}.0.tmp").write_bytes(b"x")
    report = verify_run(stored)
    assert report.ok and sorted(finding.what for finding in report.findings) == [
        "temporary file, its writer may be at work",
        "temporary file, left by a writer that died",
    ]
    verify_run(stored, repair=True)
    assert [finding.what for finding in verify_run(stored).findings] == [
        "temporary file, its writer may be at work"
    ]


def test_not_a_run(tmp_path: Path, stored: Path) -> None:
    with pytest.raises(NotARun):
        verify_run(tmp_path)
    (stored / "run.json").write_text("]")
    with pytest.raises(DamagedRun):
        verify_run(stored)


def test_findings_read_as_sentences(stored: Path) -> None:
    shards_of(stored)[0].unlink()
    assert str(verify_run(stored).findings[0]).startswith("error: 0-000000-")


def test_values_that_cannot_be_true(run_dir: Path, samples: SimpleNamespace) -> None:
    columns = samples.columns([0, 1])
    columns["entropy"][1, 2, 3] = -0.5
    write_shard(run_dir, columns, attrs=samples.attrs)
    assert [what for _, what in errors(run_dir)] == [
        "entropy is below 0 at 1 place, first at [1, 2, 3]"
    ]
    assert errors(run_dir, quick=True) == []


def test_head_of_the_hidden_states(tmp_path: Path, samples: SimpleNamespace) -> None:
    run_dir = samples.run_dir(tmp_path / "run", config={"save_logits": "hidden"})
    assert verify_run(run_dir).ok
    write_shard(run_dir, samples.columns([0], bf16=True, extras=True), attrs=samples.attrs)
    assert [name for name, _ in errors(run_dir, quick=True)] == ["head.h5"]
    weight = np.arange(320, dtype=np.uint16).reshape(64, 5)
    head = write_head(run_dir, weight)
    assert verify_run(run_dir).ok
    content = bytearray(head.read_bytes())
    content[content.find(weight.tobytes()) + 100] ^= 8
    head.write_bytes(content)
    assert [name for name, _ in errors(run_dir)] == ["head.h5"] and errors(
        run_dir, quick=True
    ) == []
    verify_run(run_dir, repair=True)
    assert head.exists()


@pytest.mark.parametrize("name", ["entropy", "token", "step", "generated_text"])
def test_variables_of_another_type_or_shape(stored: Path, name: str) -> None:
    """A shard that some other program rewrote, with a manifest line that agrees."""
    import h5py

    shard = shards_of(stored)[0]
    with h5py.File(shard, "r+") as file:
        values = file[name][...]
        del file[name]
        file[name] = np.zeros(values.shape, np.float64) if name != "step" else values + 1
        del file.attrs["sealed"]
    (stored / "manifest-0.jsonl").unlink()
    shard = shard.rename(shard.with_name(f"0-000000-{file_sha256(shard)[:8]}.h5"))
    assert [(found, name in what) for found, what in errors(stored)] == [(shard.name, True)]
