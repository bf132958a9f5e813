"""Small JSON records beside the shards (progress, sessions): read so that a damaged or foreign one
counts as none.

Losing one costs nothing but history, so nothing here raises.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ..counts import count_text
from ..format.stamp import STAMP, is_intact

PROGRESS = "progress.json"
SESSIONS = "sessions.jsonl"


def read_text(path: Path) -> str:
    """The text of a file; bytes that are no UTF-8 become U+FFFD. Raises OSError."""
    return path.read_text(encoding="utf-8", errors="replace")


def read_record(path: Path) -> dict[str, Any]:
    """The one record of a file; empty where it is missing or not as it was written."""
    try:
        return parse_record(read_text(path))
    except OSError:
        return {}


def parse_record(text: str) -> dict[str, Any]:
    """A record from its JSON; empty where that is damaged."""
    try:
        record = json.loads(text)
    except (ValueError, RecursionError):
        return {}
    if not isinstance(record, dict) or not is_intact(record):
        return {}
    lost_stamp = "state" in record and "run_id" in record and STAMP not in record
    return {} if lost_stamp else record


def is_of_run(run_dir: Path, record: Mapping[str, Any]) -> bool:
    """Whether a record is not surely one of another run; older records do not say whose they
    are."""
    owner = record.get("run_id")
    return not owner or read_record(run_dir / "run.json").get("run_id", owner) == owner


def record_faults(run_dir: Path) -> list[tuple[str, str]]:
    """(file, what is wrong) where records are damaged or of another run; readers leave those
    out."""
    faults = []
    for name in (PROGRESS, SESSIONS):
        try:
            text = read_text(run_dir / name)
        except OSError:
            continue
        lines = [text] if name == PROGRESS else [line for line in text.split("\n") if line]
        records = [parse_record(line) for line in lines]
        counts = {
            "damaged": records.count({}),
            "of another run": sum(not is_of_run(run_dir, record) for record in records),
            "there twice": len(lines) - len(set(lines)),
        }
        for what, count in counts.items():
            if count:
                records_text = count_text(count, "record")
                faults.append((name, f"{records_text} of it {what}, and not shown"))
    return faults
