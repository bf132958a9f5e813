"""Who is running: machine, boot and process in a form that fits into a file name; and whether it
still runs."""

from __future__ import annotations

import os
import re
import socket
from pathlib import Path
from typing import NamedTuple

_BOOT_ID = Path("/proc/sys/kernel/random/boot_id")


class ProcessName(NamedTuple):
    """One process of one boot of one machine. Written `host~boot~pid`."""

    host: str
    boot: str
    pid: int

    def __str__(self) -> str:
        return f"{self.host}~{self.boot}~{self.pid}"

    @property
    def surely_dead(self) -> bool:
        """True only where it can be known: this machine, and the boot or the process is gone."""
        here = this_process()
        if self.host != here.host:
            return False
        return self.boot != here.boot or not _alive(self.pid)


def this_process() -> ProcessName:
    """The name of the calling process."""
    host = re.sub(r"[^A-Za-z0-9-]", "-", socket.gethostname()) or "unnamed"
    try:
        boot = _BOOT_ID.read_text().strip()[:8]
    except OSError:
        boot = "unknown"
    return ProcessName(host, boot, os.getpid())


def parse_process(text: str) -> ProcessName | None:
    """The inverse of `str`; None if the text is not such a name."""
    match = re.fullmatch(r"([A-Za-z0-9-]+)~([A-Za-z0-9-]+)~(\d+)", text)
    return ProcessName(match[1], match[2], int(match[3])) if match else None


def _alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return not _waits_to_be_reaped(pid)


def _waits_to_be_reaped(pid: int) -> bool:
    """Whether the process has ended and only its parent has not looked yet: it holds no file and no
    lock any more."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return False
    return stat.rpartition(")")[2].split()[:1] == ["Z"]
