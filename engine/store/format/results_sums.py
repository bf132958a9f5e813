"""SHA256SUMS: the checksums of what analyses wrote into a run directory, in the form of the program
sha256sum.

`sha256sum -c SHA256SUMS` checks them too. A file's line is taken out before the file is replaced
and put in afterwards, so that a crash leaves a file without a checksum and never one with a wrong
one. Knows no contents.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from pathlib import Path

from ..disk import file_sha256, replace_file, write_file

SUMS = "SHA256SUMS"
RESULTS = (
    "analysis.h5",
    "analysis_summary.txt",
    "comprehensive_analysis_results.pt",
    "comprehensive_dashboard.png",
    "report.html",
    "comparison.csv",
    "comparison-paired.csv",
)
"""What analyses write under names of their own."""


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
        replace_file(run_dir / SUMS, partial(write_file, data=content))


def results_faults(run_dir: Path) -> list[tuple[str, str]]:
    """(file, what is wrong) of results that changed after they were written, or are gone."""
    found = []
    for name, digest in sorted(read_sums(run_dir).items()):
        path = run_dir / name
        try:
            if file_sha256(path) != digest:
                found.append(
                    (name, f"its sha256 is not the one in {SUMS}: it, or that line, changed")
                )
        except OSError as error:
            found.append((name, f"cannot be read, {SUMS} names it: {error.strerror or error}"))
    return found
