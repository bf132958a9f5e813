"""The run directory on disk: shards written once, one view of them all, verification, resume. numpy
and h5py only.

Names load on first use, so that importing the package costs nothing.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .check.resume import (
        Resumed,
        completed_ids,
        resume_run,
        set_aside_repeats,
    )
    from .check.verify import Finding, VerifyReport, verify_run
    from .drawing import Coverage, coverage
    from .errors import ColumnsError, DamagedRun, NotARun, NotStored, RunLocked, StorageError
    from .lock import RunLock
    from .read.lazy import LazyArray
    from .read.run import Run, open_run
    from .temporaries import sweep_temporaries
    from .write.manifest import ShardEntry
    from .write.shard import write_shard

_HOME = {
    "ColumnsError": "errors",
    "Coverage": "drawing",
    "coverage": "drawing",
    "DamagedRun": "errors",
    "NotARun": "errors",
    "NotStored": "errors",
    "RunLocked": "errors",
    "StorageError": "errors",
    "LazyArray": "read.lazy",
    "RunLock": "lock",
    "ShardEntry": "write.manifest",
    "Resumed": "check.resume",
    "completed_ids": "check.resume",
    "resume_run": "check.resume",
    "set_aside_repeats": "check.resume",
    "sweep_temporaries": "temporaries",
    "Run": "read.run",
    "open_run": "read.run",
    "write_shard": "write.shard",
    "Finding": "check.verify",
    "VerifyReport": "check.verify",
    "verify_run": "check.verify",
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
