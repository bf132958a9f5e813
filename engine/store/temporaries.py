"""The names of files that are being written, and clearing away those that nobody writes any more.

A name says which process writes there: `.<file>.<host>~<boot>~<pid>.tmp` beside the file that it
will be, or `.<host>~<boot>~<pid>.<number>.tmp` where that has no name yet.
"""

from __future__ import annotations

import contextlib
import itertools
import re
import time
from pathlib import Path

from .process import parse_process, this_process

OLD_SECONDS = 3600.0
_WRITER = re.compile(r"\.([A-Za-z0-9-]+~[A-Za-z0-9-]+~\d+)\.")
_numbers = itertools.count()


def temporary_beside(path: Path) -> Path:
    """Where to write what is to become `path`."""
    return path.with_name(f".{path.name}.{this_process()}.tmp")


def temporary_in(directory: Path) -> Path:
    """Where to write a file of `directory` whose name is not known yet; another one each time."""
    return directory / f".{this_process()}.{next(_numbers)}.tmp"


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
    if writer is not None and writer.surely_dead:
        return True
    return time.time() - path.stat().st_mtime > OLD_SECONDS
