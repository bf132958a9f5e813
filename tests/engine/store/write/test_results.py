"""A published file is whole or the old one; SHA256SUMS is what `sha256sum -c` reads, and names every
result that changed or is gone."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest

from diffengine.engine.store import StorageError
from diffengine.engine.store.write import results
from diffengine.engine.store.write.results import publish, read_sums, results_faults


def test_published_results_are_known_to_us_and_to_sha256sum(run_dir: Path) -> None:
    (run_dir / "plots").mkdir()
    for name, content in (
        ("report.html", b"one"),
        ("plots/a.png", b"two"),
        ("report.html", b"three"),
    ):
        publish(run_dir / name, content)
    assert (
        set(read_sums(run_dir)) == {"report.html", "plots/a.png"} and results_faults(run_dir) == []
    )
    if shutil.which("sha256sum"):
        subprocess.run(["sha256sum", "-c", "--strict", "SHA256SUMS"], cwd=run_dir, check=True)
    (run_dir / "report.html").write_bytes(b"thref")
    (run_dir / "plots" / "a.png").unlink()
    assert [name for name, _ in results_faults(run_dir)] == ["plots/a.png", "report.html"]


def test_outside_of_a_run_nothing_lies_beside(tmp_path: Path) -> None:
    publish(tmp_path / "report.html", b"x")
    assert [path.name for path in tmp_path.iterdir()] == ["report.html"]


def test_a_full_disk_keeps_the_old_file_and_its_checksum(
    run_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    publish(run_dir / "report.html", b"old")
    before = read_sums(run_dir)
    replace_content = results.replace_content

    def full(path: Path, data: bytes) -> None:
        if path.name == "report.html":
            raise StorageError("full", errno=28)
        replace_content(path, data)

    monkeypatch.setattr(results, "replace_content", full)
    with pytest.raises(StorageError):
        publish(run_dir / "report.html", b"new")
    assert (run_dir / "report.html").read_bytes() == b"old" and read_sums(run_dir) == before


def test_replaces_and_leaves_nothing_beside(tmp_path: Path) -> None:
    for content in (b"first", b"", b"third" * 1000):
        publish(tmp_path / "a.txt", content)
        assert (tmp_path / "a.txt").read_bytes() == content
    assert os.listdir(tmp_path) == ["a.txt"]


def test_failure_keeps_the_old_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    publish(tmp_path / "a.txt", b"old")

    def full(_: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space"):
        publish(tmp_path / "a.txt", b"new")
    assert (tmp_path / "a.txt").read_bytes() == b"old" and os.listdir(tmp_path) == ["a.txt"]


def test_missing_folder_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        publish(tmp_path / "none" / "a.txt", b"x")
