"""How far a run is, for whoever looks from outside: progress.json while it runs, one line in
sessions.jsonl afterwards.

Both are small and never locked; a reader sees the old or the new progress whole. Losing them costs
nothing but the history, so a full disk does not stop a run here.
"""

from __future__ import annotations

import contextlib
import datetime
import json
import logging
import os
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Any

from ..store.counts import noun_for
from ..store.disk import replace_file
from ..store.format.stamp import stamped
from ..store.process import parse_process, this_process
from ..store.read.records import PROGRESS, SESSIONS, is_of_run, parse_record, read_record, read_text
from .progress import Progress

EVERY_SECONDS = 2.0


class Session:
    """One command at work in a run directory. A context manager: how it ends is how the session is
    recorded."""

    def __init__(self, out: Path, *, devices: list[str], run_id: str = "") -> None:
        self._out = out
        self._devices = devices
        self._run_id = run_id
        self._started = time.time()
        self._began = time.monotonic()
        self._written = -EVERY_SECONDS
        self._counts: dict[str, Any] = {}

    def __enter__(self) -> Session:
        self._handler = log_to_file(self._out, "driver")
        logger = logging.getLogger("diffengine")
        self._level = logger.level
        if not logger.isEnabledFor(logging.INFO):  # the file has more than a terminal wants
            logger.setLevel(logging.INFO)
        for pattern in ("*.phases.json", "*.given-up"):
            for path in (self._out / "logs").glob(pattern):
                with contextlib.suppress(OSError):
                    path.unlink()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        logging.getLogger("diffengine").setLevel(self._level)
        logging.getLogger("diffengine").removeHandler(self._handler)
        self._handler.close()
        if kind is None:
            state = "finished"
        else:
            state = "interrupted" if kind is KeyboardInterrupt else "failed"
        workers = {
            path.name.split(".")[0]: read_record(path)
            for path in (self._out / "logs").glob("*.phases.json")
        }
        record = self._record(state) | {"devices": self._devices, "workers": workers}
        if error is not None and state == "failed":
            record["error"] = str(error)[:500]
        _replace(self._out / PROGRESS, self._record(state))
        with contextlib.suppress(OSError):
            _append(self._out / SESSIONS, record)

    def update(self, counts: Mapping[str, Any]) -> None:
        """Note how far the run is; written at most every two seconds."""
        self._counts = dict(counts)
        if time.monotonic() - self._written >= EVERY_SECONDS:
            self._written = time.monotonic()
            _replace(self._out / PROGRESS, self._record("running"))

    def _record(self, state: str) -> dict[str, Any]:
        now = time.time()
        return {
            "run_id": self._run_id,
            "state": state,
            "process": str(this_process()),
            "started_at": _clock(self._started),
            "updated_at": _clock(now),
            "session_seconds": round(time.monotonic() - self._began, 3),
            **self._counts,
        }


def read_status(out: Path) -> dict[str, Any] | None:
    """What progress.json says, with rate and ETA; None if there is none. `state` is "killed" if its
    process is gone."""
    status = read_record(out / PROGRESS)
    if not status or "state" not in status or not is_of_run(out, status):
        return None
    status.pop("sha256", None)
    process = parse_process(str(status.get("process", "")))
    if status["state"] == "running" and process is not None and process.surely_dead:
        status["state"] = "killed"
    progress = Progress(*(status.get(name, 0) for name in Progress._fields))
    status |= _rates(progress)
    eta = progress.eta_seconds if status["state"] == "running" else None
    status["eta_seconds"] = None if eta is None else round(eta, 1)
    return status


def _rates(progress: Progress) -> dict[str, float]:
    """Problems in an hour, and samples or branches where that is what is counted; a problem takes
    as long as all of its own."""
    per_hour = 3600 * (progress.decodings_per_second or 0.0)
    rates = {f"{noun_for('many', progress.unit)}_per_hour": round(per_hour, 1)}
    if progress.unit != "problem" and progress.total:
        problems = per_hour * progress.problems / progress.total
        rates["problems_per_hour"] = round(problems, 1)
    return rates


def read_sessions(out: Path) -> list[dict[str, Any]]:
    """The commands that have worked in the run: when, how they ended, problems, seconds, MFU over
    all workers."""
    try:
        lines = read_text(out / SESSIONS).split("\n")
    except OSError:
        return []
    kept = ("started_at", "state", "done", "failed", "session_seconds", "devices")
    sessions = []
    for line in dict.fromkeys(lines):
        record = parse_record(line)
        if record and is_of_run(out, record):
            session = {name: record.get(name) for name in kept}
            session["mfu_share_of_gemm"] = _mfu(record.get("workers", {}))
            sessions.append(session)
    return sessions


def _mfu(workers: Mapping[str, Any]) -> float | None:
    work = [w for w in workers.values() if w.get("gemm_flops_per_second")]
    possible = sum(sum(w["seconds"].values()) * w["gemm_flops_per_second"] for w in work)
    return round(sum(w["flops"] for w in work) / possible, 4) if possible else None


def write_phases(out: Path, worker: str, phases: Mapping[str, Any]) -> None:
    """Keep a worker's phases beside its log, for the record of the session."""
    _replace(out / "logs" / f"{worker}.phases.json", phases)


def log_to_file(out: Path, worker: str) -> logging.Handler:
    """Send what the library logs in this process to `logs/<worker>.log` of the run as well; returns
    the handler."""
    with contextlib.suppress(OSError):
        (out / "logs").mkdir(exist_ok=True)
    handler = _LogFile(out / "logs" / f"{worker}.log", encoding="utf-8", delay=True)
    handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(name)s: %(message)s"))
    logging.getLogger("diffengine").addHandler(handler)
    return handler


class _LogFile(logging.FileHandler):
    """A log that ends where the disk is full: a run is worth more than its log."""

    def handleError(self, record: logging.LogRecord) -> None:  # noqa: N802  (logging's name)
        if not isinstance(sys.exception(), OSError):
            super().handleError(record)

    def close(self) -> None:
        with contextlib.suppress(OSError):
            super().close()


def _replace(path: Path, content: Mapping[str, Any]) -> None:
    text = json.dumps(stamped(content))

    def write(temporary: Path) -> None:
        temporary.write_text(text, encoding="utf-8")

    with contextlib.suppress(OSError):
        replace_file(path, write, flush_directory=False)


def _append(path: Path, record: Mapping[str, Any]) -> None:
    """One more line; a line that a full disk cut short is closed first."""
    line = json.dumps(stamped(record), ensure_ascii=False).encode("utf-8", "replace") + b"\n"
    with path.open("a+b", buffering=0) as file:
        size = file.seek(0, os.SEEK_END)
        file.seek(max(0, size - 1))
        is_open = file.read(1) not in (b"\n", b"")
        file.write(b"\n" + line if is_open else line)


def _clock(seconds: float) -> str:
    return datetime.datetime.fromtimestamp(seconds, datetime.UTC).isoformat(timespec="seconds")
