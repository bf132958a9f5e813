"""How the C library's allocator treats what a network on a CPU frees: it keeps it, instead of
giving it back.

Each layer frees and asks again for tensors of megabytes. glibc at first maps every block of that
size afresh and trims what is freed at the end of the heap, so that each pass meets its pages anew.
`tests/engine/models/test_host_memory.py` counts them.
"""

from __future__ import annotations

import ctypes
import os

TRIM_THRESHOLD = -1
MMAP_THRESHOLD = -3
"""Names of mallopt(3), from malloc.h."""

LARGEST_ON_HEAP = 32 << 20
"""The most that glibc takes for M_MMAP_THRESHOLD on 64 bits (HEAP_MAX_SIZE / 2)."""

KEPT = 256 << 20
"""Bytes free at the end of the heap that stay with the process."""


def keep_freed_memory() -> bool:
    """Let malloc keep up to `KEPT` freed bytes for the next request; whether this C library could
    be told.

    Where the environment sets MALLOC_TRIM_THRESHOLD_ or MALLOC_MMAP_THRESHOLD_, that stands.
    """
    if {"MALLOC_TRIM_THRESHOLD_", "MALLOC_MMAP_THRESHOLD_"} & os.environ.keys():
        return False
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None) if os.name == "posix" else None
    if mallopt is None:
        return False
    told = [mallopt(MMAP_THRESHOLD, LARGEST_ON_HEAP), mallopt(TRIM_THRESHOLD, KEPT)]
    return all(told)
