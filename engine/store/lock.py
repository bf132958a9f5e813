"""One process at a time works in a run directory. Never waits: it either holds the lock or says who
does.

The kernel's file lock decides, so a dead holder's lock is free at once; the file's text only names
the holder. Where the file system has no locks (some network mounts), the text decides.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import json
import logging
import os
from pathlib import Path
from types import TracebackType

from .disk import storage_error
from .errors import RunLocked
from .process import parse_process, this_process

_log = logging.getLogger(__name__)
_NO_LOCKS = (errno.ENOLCK, errno.EOPNOTSUPP, errno.ENOTSUP, errno.ENOSYS)


class RunLock:
    """Context manager: exclusive use of a run directory for writing. Raises RunLocked naming the
    holder."""

    def __init__(self, run_dir: str | Path) -> None:
        self.path = Path(run_dir) / ".lock"
        self._descriptor: int | None = None

    def __enter__(self) -> RunLock:
        try:
            descriptor = os.open(self.path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
        except OSError as error:
            raise storage_error(error, self.path, needed=0) from error
        try:
            self._take(descriptor)
        except BaseException:
            os.close(descriptor)
            raise
        self._descriptor = descriptor
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        descriptor = self._descriptor
        self._descriptor = None
        if descriptor is not None:
            with contextlib.suppress(OSError):
                os.ftruncate(descriptor, 0)
            os.close(descriptor)

    def _take(self, descriptor: int) -> None:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            by_text = False
        except OSError as error:
            if error.errno in (errno.EWOULDBLOCK, errno.EACCES):
                raise RunLocked(self._refusal(_holder(descriptor))) from error
            if error.errno not in _NO_LOCKS:
                raise storage_error(error, self.path, needed=0) from error
            by_text = True
        self._check_text(_holder(descriptor), binding=by_text)
        os.ftruncate(descriptor, 0)
        text = json.dumps({"holder": str(this_process()), "pid": os.getpid()})
        with contextlib.suppress(OSError):  # a full disk: the kernel's lock holds without the text
            os.pwrite(descriptor, text.encode(), 0)

    def _check_text(self, holder: str, *, binding: bool) -> None:
        if not holder:
            return
        process = parse_process(holder)
        if binding and (process is None or not process.surely_dead):
            raise RunLocked(
                self._refusal(holder) + f"; if that process is gone, delete {self.path}"
            )
        _log.info("taking over the lock %s, left by %s", self.path, holder)

    def _refusal(self, holder: str) -> str:
        process = parse_process(holder)
        who = f"process {process.pid} on {process.host}" if process else "another process"
        if process == this_process():
            who = "this very process"
        return (
            f"{self.path.parent} is in use by {who}; wait for it, stop it, or choose another "
            "directory with --out"
        )


def is_held_by(run_dir: str | Path, holder: str) -> bool:
    """Whether the process `holder` still holds the run's lock, as far as can be known: nobody else
    is named there, and where nobody is (a full disk leaves no room for the name) somebody holds it.
    """
    try:
        descriptor = os.open(Path(run_dir) / ".lock", os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return True
    try:
        named = _holder(descriptor)
        if named not in ("", "unknown"):
            return named == holder
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
        return False
    except OSError:
        return True
    finally:
        os.close(descriptor)


def _holder(descriptor: int) -> str:
    try:
        record = json.loads(os.pread(descriptor, 4096, 0) or b"{}")
        return str(record.get("holder", ""))
    except (OSError, ValueError, AttributeError):
        return "unknown"
