"""Bytes onto a disk so that they are there after a power cut, and errors that say how much room was
missing.

Every file of a run comes to be in one of two ways: `replace_file`, or written once, as a shard is.
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import os
import shutil
from collections.abc import Callable
from pathlib import Path

from .errors import StorageError
from .temporaries import temporary_beside

_NO_ROOM = {
    errno.ENOSPC: "the disk is full",
    errno.EDQUOT: "the disk quota is used up",
    errno.EFBIG: "the file is larger than this file system or process may write",
}


def write_all(descriptor: int, data: bytes) -> None:
    """Write all of `data`; a single system call may write less than it was given."""
    rest = memoryview(data)
    while rest:
        rest = rest[os.write(descriptor, rest) :]


def write_file(path: Path, data: bytes) -> None:
    """Create `path` (it must not exist) with `data`, flushed to the disk; on any failure the file
    is removed again.

    Raises StorageError with the bytes needed and free.
    """
    try:
        _write_new(path, data)
    except OSError as error:
        with contextlib.suppress(OSError):
            path.unlink()
        raise storage_error(error, path, needed=len(data)) from error
    except BaseException:
        with contextlib.suppress(OSError):
            path.unlink()
        raise


def _write_new(path: Path, data: bytes) -> None:
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o644)
    try:
        write_all(descriptor, data)
        os.fsync(descriptor)
    except BaseException:
        with contextlib.suppress(OSError):
            os.close(descriptor)
        raise
    os.close(descriptor)  # network file systems report a full disk here


def replace_content(path: Path, data: bytes) -> None:
    """Put a file with `data` in its place whole or not at all, as `replace_file` does."""
    replace_file(path, lambda temporary: write_file(temporary, data))


def replace_file(
    path: Path, write: Callable[[Path], object], *, flush_directory: bool = True
) -> None:
    """Put a file in its place whole or not at all: `write(temporary)`, rename, flush the directory.

    `flush_directory` False leaves out the last, for a file that is soon replaced again. Raises
    StorageError; what was at `path` before is then still there, and no temporary file.
    """
    temporary = temporary_beside(path)
    try:
        temporary.unlink(missing_ok=True)
        write(temporary)
        os.replace(temporary, path)
    except StorageError:
        raise
    except OSError as error:
        raise storage_error(error, path, needed=0) from error
    finally:
        with contextlib.suppress(OSError):
            temporary.unlink()
    if flush_directory:
        fsync_directory(path.parent)


def make_directory(path: Path) -> None:
    """Create a directory and those above it where missing. Raises StorageError."""
    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise storage_error(error, path, needed=0) from error


def fsync_directory(path: Path) -> None:
    """Flush the names in a directory to the disk; file systems that cannot (EINVAL) are let pass.

    Raises StorageError.
    """
    try:
        _fsync_directory(path)
    except OSError as error:
        if error.errno != errno.EINVAL:
            raise storage_error(error, path, needed=0) from error


def _fsync_directory(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def file_sha256(path: Path) -> str:
    """sha256 of a file's content, in hexadecimal."""
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def storage_error(error: OSError, path: Path, *, needed: int) -> StorageError:
    """The error a user can act on: what happened to which file, bytes needed and free, what is
    lost, what to do."""
    reason = error.strerror or str(error)
    no_room = _NO_ROOM.get(error.errno or 0)
    what = no_room or f"the file system refused ({reason})"
    advice = "free some space" if no_room else "check the disk"
    message = (
        f"cannot write {path}: {what}; {needed:,} bytes needed, {_free(path)} free; no finished "
        f"shard is lost; {advice} and run the same command again"
    )
    if no_room:
        message += f" ({reason})"
    return StorageError(message, errno=error.errno, filename=str(path))


def _free(path: Path) -> str:
    try:
        return f"{shutil.disk_usage(path.parent).free:,}"
    except OSError:
        return "unknown"
