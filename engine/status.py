"""How far a run is, for whoever looks from outside: progress.json while it runs, one line in sessions.jsonl afterwards.

Both are small and never locked; a reader sees the old or the new progress whole. Losing them costs nothing but the
history, so a full disk does not stop a run here. Knows counts, not problems.
"""

from __future__ import annotations

import contextlib
import datetime
import json
import logging
import os
import time
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Any

from .store.process import parse_process, this_process

EVERY_SECONDS = 2.0


class Session:
    """One command at work in a run directory. A context manager: how it ends is how the session is recorded."""

    def __init__(self, out: Path, *, devices: list[str]) -> None:
        self._out, self._devices = out, devices
        self._started, self._began, self._written = time.time(), time.monotonic(), -EVERY_SECONDS
        self._counts: dict[str, Any] = {}

    def __enter__(self) -> Session:
        self._handler, logger = log_to_file(self._out, "driver"), logging.getLogger("diffengine")
        self._level = logger.level
        if not logger.isEnabledFor(logging.INFO):  # the file has more than a terminal wants
            logger.setLevel(logging.INFO)
        for pattern in ("*.phases.json", "*.given-up"):
            for left in (self._out / "logs").glob(pattern):
                left.unlink(missing_ok=True)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        logging.getLogger("diffengine").setLevel(self._level)
        logging.getLogger("diffengine").removeHandler(self._handler)
        self._handler.close()
        state = "finished" if kind is None else "interrupted" if kind is KeyboardInterrupt else "failed"
        workers = {path.name.split(".")[0]: _read(path) for path in (self._out / "logs").glob("*.phases.json")}
        record = self._record(state) | {"devices": self._devices, "workers": workers}
        if error is not None and state == "failed":
            record["error"] = str(error)[:500]
        _replace(self._out / "progress.json", self._record(state))
        with contextlib.suppress(OSError), (self._out / "sessions.jsonl").open("a", encoding="utf-8") as file:
            file.write(json.dumps(record, ensure_ascii=False) + "\n")

    def update(self, counts: Mapping[str, Any]) -> None:
        """Note how far the run is; written at most every two seconds."""
        self._counts = dict(counts)
        if time.monotonic() - self._written >= EVERY_SECONDS:
            self._written = time.monotonic()
            _replace(self._out / "progress.json", self._record("running"))

    def _record(self, state: str) -> dict[str, Any]:
        now = time.time()
        return {
            "state": state,
            "process": str(this_process()),
            "started_at": _clock(self._started),
            "updated_at": _clock(now),
            "session_seconds": round(time.monotonic() - self._began, 3),
            **self._counts,
        }


def read_status(out: Path) -> dict[str, Any] | None:
    """What progress.json says, with rate and ETA; None if there is none. `state` is "killed" if its process is gone."""
    found = _read(out / "progress.json")
    if not found:
        return None
    process = parse_process(str(found.get("process", "")))
    if found["state"] == "running" and process is not None and process.surely_dead:
        found["state"] = "killed"
    done, seconds = found.get("done", 0), found.get("seconds", 0)
    left = found.get("total", 0) - done - found.get("resumed", 0) - found.get("failed", 0)
    rate = done / seconds if seconds else 0.0
    found["problems_per_hour"] = round(rate * 3600, 1)
    found["eta_seconds"] = round(left / rate, 1) if rate and found["state"] == "running" else None
    return found


def read_sessions(out: Path) -> list[dict[str, Any]]:
    """The commands that have worked in the run: when, how they ended, problems, seconds, MFU over all workers."""
    try:
        lines = (out / "sessions.jsonl").read_text(encoding="utf-8").splitlines()
    except OSError:
        return []
    kept = ("started_at", "state", "done", "failed", "session_seconds", "devices")
    sessions = [record for line in lines if (record := _parsed(line))]
    return [{k: s.get(k) for k in kept} | {"mfu_share_of_gemm": _mfu(s.get("workers", {}))} for s in sessions]


def _mfu(workers: Mapping[str, Any]) -> float | None:
    work = [w for w in workers.values() if w.get("gemm_flops_per_second")]
    possible = sum(sum(w["seconds"].values()) * w["gemm_flops_per_second"] for w in work)
    return round(sum(w["flops"] for w in work) / possible, 4) if possible else None


def write_phases(out: Path, worker: str, phases: Mapping[str, Any]) -> None:
    """Keep a worker's phases beside its log, for the record of the session."""
    _replace(out / "logs" / f"{worker}.phases.json", phases)


def log_to_file(out: Path, worker: str) -> logging.Handler:
    """Send what the library logs in this process to `logs/<worker>.log` of the run as well; returns the handler."""
    (out / "logs").mkdir(exist_ok=True)
    handler = logging.FileHandler(out / "logs" / f"{worker}.log", encoding="utf-8", delay=True)
    handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(name)s: %(message)s"))
    logging.getLogger("diffengine").addHandler(handler)
    return handler


def _replace(path: Path, content: Mapping[str, Any]) -> None:
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    with contextlib.suppress(OSError):
        temporary.write_text(json.dumps(content), encoding="utf-8")
        os.replace(temporary, path)


def _read(path: Path) -> dict[str, Any]:
    try:
        return _parsed(path.read_text(encoding="utf-8"))
    except OSError:
        return {}


def _parsed(text: str) -> dict[str, Any]:
    try:
        found = json.loads(text)
    except ValueError:
        return {}
    return found if isinstance(found, dict) else {}


def _clock(seconds: float) -> str:
    return datetime.datetime.fromtimestamp(seconds, datetime.UTC).isoformat(timespec="seconds")
