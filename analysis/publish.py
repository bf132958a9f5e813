"""Put a finished file in its place: complete or not at all. Knows nothing of what is in it."""

from __future__ import annotations

import os
from pathlib import Path


def publish(path: str | Path, content: bytes) -> None:
    """Write `content` beside `path` under a temporary name, fsync, rename, fsync the folder.

    Raises OSError (missing folder, full disk); a file that was at `path` before is then untouched.
    """
    path = Path(path)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        with open(temporary, "wb") as stream:
            stream.write(content)
            stream.flush()
            os.fsync(stream.fileno())
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)
    folder = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)
