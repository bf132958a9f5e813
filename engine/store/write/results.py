"""What analyses write: each file in its place whole or not at all, and its checksum beside it in a
run directory.

The checksums lie in SHA256SUMS; `sha256sum -c SHA256SUMS` checks them too. A file's line is taken
out before the file is replaced and put in afterwards, so that a crash leaves a file without a
checksum and never one with a wrong one.
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
from collections.abc import Mapping
from pathlib import Path

from ..disk import file_sha256, replace_content

SUMS = "SHA256SUMS"
RESULTS = (
    "analysis.h5",
    "analysis_summary.txt",
    "comprehensive_analysis_results.pt",
    "comprehensive_dashboard.png",
    "report.html",
    "comparison.csv",
    "comparison-paired.csv",
    "tradeoff.png",
)
"""What analyses write under names of their own."""


def publish(path: str | Path, content: bytes) -> None:
    """Write `content` beside `path` under a temporary name, fsync, rename, fsync the folder.

    In a run directory, and in a folder of one, its line in SHA256SUMS follows. Raises
    FileNotFoundError for a missing folder, StorageError (full disk); a file that was at `path`
    before is then untouched.
    """
    path = Path(path)
    if not path.parent.is_dir():
        raise FileNotFoundError(
            errno.ENOENT, "no such folder; create it, or give another place", str(path.parent)
        )
    run_dir = _run_of(path)
    if run_dir is None:
        replace_content(path, content)
        return

    name = path.relative_to(run_dir).as_posix()
    before = read_sums(run_dir)
    write_sums(run_dir, {other: digest for other, digest in before.items() if other != name})
    try:
        replace_content(path, content)
    except OSError:
        # The old file is still there, and with it its checksum if the disk allows.
        if name in before:
            with contextlib.suppress(OSError):
                _add_sum(run_dir, name, before[name])
        raise
    _add_sum(run_dir, name, hashlib.sha256(content).hexdigest())


def _run_of(path: Path) -> Path | None:
    """The run directory that a file lies in, or in a folder of; None outside of runs."""
    for folder in (path.parent, path.parent.parent):
        if (folder / "run.json").is_file():
            return folder
    return None


def _add_sum(run_dir: Path, name: str, digest: str) -> None:
    write_sums(run_dir, read_sums(run_dir) | {name: digest})


def read_sums(run_dir: Path) -> dict[str, str]:
    """sha256 by file name; lines that are none are left out."""
    try:
        text = (run_dir / SUMS).read_text("utf-8", errors="replace")
    except OSError:
        return {}
    pairs = (line.split("  ", 1) for line in text.splitlines())
    return {pair[1]: pair[0] for pair in pairs if len(pair) == 2 and len(pair[0]) == 64}


def write_sums(run_dir: Path, sums: Mapping[str, str]) -> None:
    """Replace the file, if that changes anything. Raises StorageError."""
    content = "".join(f"{digest}  {name}\n" for name, digest in sorted(sums.items())).encode()
    if sums != read_sums(run_dir):
        replace_content(run_dir / SUMS, content)


def results_faults(run_dir: Path) -> list[tuple[str, str]]:
    """(file, what is wrong) of results that changed after they were written, or are gone."""
    faults = []
    for name, digest in sorted(read_sums(run_dir).items()):
        try:
            is_same = file_sha256(run_dir / name) == digest
        except OSError as error:
            faults.append((name, f"cannot be read, {SUMS} names it: {error.strerror or error}"))
            continue
        if not is_same:
            faults.append((name, f"its sha256 is not the one in {SUMS}: it, or that line, changed"))
    return faults
