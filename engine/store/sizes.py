"""Sizes in words: decimal units as disks are sold and `ls -h --si` prints them."""

from __future__ import annotations

import math

UNITS = ("B", "kB", "MB", "GB", "TB", "PB")


def size_text(n_bytes: float) -> str:
    """`n_bytes` (bytes) in the largest decimal unit that leaves at least 1, three digits: `999 B`,
    `1.5 kB`, `16 GB`.

    Whole bytes stay whole. Raises ValueError for a number of bytes that is negative or not finite.
    """
    if not math.isfinite(n_bytes) or n_bytes < 0:
        raise ValueError(f"{n_bytes} bytes; a size is finite and not negative")
    power = 0
    # Rounded before it is compared, so that 999 600 bytes are 1 MB and not 1e+03 kB.
    while power < len(UNITS) - 1 and float(f"{n_bytes / 1000**power:.3g}") >= 1000:
        power += 1
    number = float(f"{n_bytes / 1000**power:.3g}")
    return f"{number:g} {UNITS[power]}"
