"""One named part of what a run needs, and the arithmetic that gives it."""

from __future__ import annotations

from typing import NamedTuple


class Factor(NamedTuple):
    """A part in bytes or seconds, and how it comes about, in words."""

    name: str
    amount: float
    how: str
