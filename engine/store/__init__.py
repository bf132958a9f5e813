"""The run directory on disk: shards written once, one view of them all, verification, resume. numpy and h5py only.

Names load on first use, so that importing the package costs nothing.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .drawing import Coverage, coverage
    from .errors import ColumnsError, DamagedRun, NotARun, NotStored, RunLocked, StorageError
    from .lazy import LazyArray
    from .lock import RunLock
    from .manifest import ShardEntry
    from .resume import Resumed, completed_ids, resume_run, set_aside_repeats, sweep_temporaries
    from .run import Run, open_run
    from .shard import write_shard
    from .verify import Finding, VerifyReport, verify_run

_HOME = {
    "ColumnsError": "errors",
    "Coverage": "drawing",
    "coverage": "drawing",
    "DamagedRun": "errors",
    "NotARun": "errors",
    "NotStored": "errors",
    "RunLocked": "errors",
    "StorageError": "errors",
    "LazyArray": "lazy",
    "RunLock": "lock",
    "ShardEntry": "manifest",
    "Resumed": "resume",
    "completed_ids": "resume",
    "resume_run": "resume",
    "set_aside_repeats": "resume",
    "sweep_temporaries": "resume",
    "Run": "run",
    "open_run": "run",
    "write_shard": "shard",
    "Finding": "verify",
    "VerifyReport": "verify",
    "verify_run": "verify",
}

__all__ = [
    "ColumnsError",
    "Coverage",
    "DamagedRun",
    "Finding",
    "LazyArray",
    "NotARun",
    "NotStored",
    "Resumed",
    "Run",
    "RunLock",
    "RunLocked",
    "ShardEntry",
    "StorageError",
    "VerifyReport",
    "completed_ids",
    "coverage",
    "open_run",
    "resume_run",
    "set_aside_repeats",
    "sweep_temporaries",
    "verify_run",
    "write_shard",
]


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f".{_HOME[name]}", __name__), name)
