"""Files that a killed writer left behind: which ones are there, which are surely nobody's any more.

Knows only names (`.<host>~<boot>~<pid>.<n>.tmp`) and ages.
"""

from __future__ import annotations

import contextlib
import time
from pathlib import Path

from .hidden_sums import sums_dir
from .process import parse_process
from .shard import shards_dir

OLD_SECONDS = 3600.0


def temporaries(run_dir: Path) -> list[Path]:
    """All temporary files of a run, of living and dead writers."""
    directories = (shards_dir(run_dir), sums_dir(run_dir))
    inside = [path for directory in directories for path in directory.glob(".*.tmp")]
    return sorted([*inside, *run_dir.glob(".manifest-*.tmp")])


def sweep_temporaries(run_dir: str | Path) -> list[Path]:
    """Delete temporary files whose writer is dead, or that nobody touched for an hour; returns what was deleted.

    A writer on another machine may still be alive, so its files must grow old first.
    """
    swept = []
    for path in temporaries(Path(run_dir)):
        with contextlib.suppress(FileNotFoundError):
            if is_stale(path):
                path.unlink()
                swept.append(path)
    return swept


def is_stale(path: Path) -> bool:
    """Whether the file's writer is surely dead or the file is older than an hour."""
    writer = parse_process(path.name[1:].rsplit(".", 2)[0])
    return bool(writer and writer.surely_dead) or time.time() - path.stat().st_mtime > OLD_SECONDS
