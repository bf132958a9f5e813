"""Put a finished file in its place: complete or not at all, with its checksum beside it if that is
a run directory.

Knows nothing of what is in it.
"""

from __future__ import annotations

import errno
import hashlib
from functools import partial
from pathlib import Path

from ..engine.store.disk import replace_file, write_file
from ..engine.store.format.results_sums import read_sums, write_sums


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
    run_dir = next(
        (place for place in (path.parent, path.parent.parent) if (place / "run.json").is_file()),
        None,
    )
    if run_dir is None:
        replace_file(path, partial(write_file, data=content))
        return
    name = path.relative_to(run_dir).as_posix()
    before = read_sums(run_dir)
    write_sums(run_dir, {other: digest for other, digest in before.items() if other != name})
    try:
        replace_file(path, partial(write_file, data=content))
    except OSError:
        if name in before:
            _keep(run_dir, name, before[name])
        raise
    write_sums(run_dir, read_sums(run_dir) | {name: hashlib.sha256(content).hexdigest()})


def _keep(run_dir: Path, name: str, digest: str) -> None:
    """The old file is still there, and with it its checksum if the disk allows."""
    try:
        write_sums(run_dir, read_sums(run_dir) | {name: digest})
    except OSError:
        return
