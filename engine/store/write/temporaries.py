"""Files that a killed writer left behind: which ones are there, which are surely nobody's any more.

Knows only names (`.<file>.<host>~<boot>~<pid>.tmp`, in `shards/` `.<host>~<boot>~<pid>.<n>.tmp`)
and ages.
"""

from __future__ import annotations

import contextlib
import re
import time
from pathlib import Path

from ..process import parse_process

OLD_SECONDS = 3600.0
_WRITER = re.compile(r"\.([A-Za-z0-9-]+~[A-Za-z0-9-]+~\d+)\.")


def temporaries(run_dir: Path) -> list[Path]:
    """All temporary files of a run, of living and dead writers."""
    return sorted([*run_dir.glob(".*.tmp"), *run_dir.glob("*/.*.tmp")])


def sweep_temporaries(run_dir: str | Path) -> list[Path]:
    """Delete temporary files whose writer is dead, or that nobody touched for an hour; returns what
    was deleted.

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
    named = _WRITER.search(path.name)
    writer = parse_process(named[1]) if named else None
    return bool(writer and writer.surely_dead) or time.time() - path.stat().st_mtime > OLD_SECONDS
