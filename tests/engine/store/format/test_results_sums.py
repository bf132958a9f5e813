"""SHA256SUMS is what `sha256sum -c` reads, and names every result that changed or is gone."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

from diffengine.analysis.publish import publish
from diffengine.engine.store import StorageError
from diffengine.engine.store.format.results_sums import read_sums, results_faults


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
    from diffengine.analysis import publish as module

    def full(path: Path, write: object) -> None:
        raise StorageError("full", errno=28)

    monkeypatch.setattr(module, "replace_file", full)
    with pytest.raises(StorageError):
        publish(run_dir / "report.html", b"new")
    assert (run_dir / "report.html").read_bytes() == b"old" and read_sums(run_dir) == before
