"""Manifests: a line cut anywhere by a crash harms no other line and is closed off by the next
append."""

from __future__ import annotations

from pathlib import Path

from diffengine.engine.store.write.manifest import (
    ShardEntry,
    append_entry,
    drop_entries,
    manifest_path,
    read_manifests,
)


def entry(number: int) -> ShardEntry:
    return ShardEntry(
        f"0-{number:06d}-aa.h5", 100 + number, "ab" * 32, (f"p{number}", "ü\u2028\n"), "f00d", "1.0"
    )


def test_lines_come_back(tmp_path: Path) -> None:
    for number in range(3):
        append_entry(tmp_path, entry(number), worker=str(number % 2))
    assert read_manifests(tmp_path).entries == {
        entry(number).name: entry(number) for number in range(3)
    }


def test_a_last_line_cut_anywhere(tmp_path: Path) -> None:
    append_entry(tmp_path, entry(0), worker="0")
    append_entry(tmp_path, entry(1), worker="0")
    path = manifest_path(tmp_path, "0")
    whole = path.read_bytes()
    first = whole.index(b"\n") + 1
    for length in range(first, len(whole)):
        path.write_bytes(whole[:length])
        cut = read_manifests(tmp_path)
        assert entry(0).name in cut.entries and (entry(1).name in cut.entries) == (
            length == len(whole) - 1
        )
        assert len(cut.unreadable) == (first < length < len(whole) - 1)
        append_entry(tmp_path, entry(2), worker="0")
        assert {entry(0).name, entry(2).name} <= set(read_manifests(tmp_path).entries)


def test_lines_that_are_not_entries_are_listed(tmp_path: Path) -> None:
    path = manifest_path(tmp_path, "0")
    path.write_bytes(
        b'{"name": "x"}\n[1]\n\xff\xfe\nnull\n\n{"name": "../x.h5", "bytes": 1, "sha256": "", "problem_ids": []}\n'
    )
    assert read_manifests(tmp_path).unreadable == [
        f"manifest-0.jsonl:{number}" for number in (1, 2, 3, 4, 6)
    ]


def test_dropping_rewrites_only_what_changes(tmp_path: Path) -> None:
    for number in range(4):
        append_entry(tmp_path, entry(number), worker=str(number % 2))
    untouched = manifest_path(tmp_path, "0").stat().st_mtime_ns
    drop_entries(tmp_path, [entry(1).name])
    assert set(read_manifests(tmp_path).entries) == {entry(number).name for number in (0, 2, 3)}
    assert manifest_path(tmp_path, "0").stat().st_mtime_ns == untouched
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        "manifest-0.jsonl",
        "manifest-1.jsonl",
    ]
