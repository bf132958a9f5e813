"""The names of all quantities that an analysis can hold, for `diffengine list` and for tests that
compare them with what it does hold.
"""

from __future__ import annotations

from collections.abc import Iterator

from .findings.finding import Finding
from .registry import FINDINGS, METRICS
from .slow_parts import slow_names


def quantity_names() -> list[str]:
    """Every quantity, in the order of an analysis that was asked for all of them."""
    return [*METRICS, *finding_names()]


def finding_names() -> list[str]:
    """The quantities that are no metrics: made from metrics, or from the states."""
    names: list[str] = []
    for finding in _findings():
        names += finding.names
    return [*names, *slow_names()]


def asked_names() -> set[str]:
    """Those that are there only when asked for."""
    names = set(slow_names())
    for finding in _findings():
        if finding.asked is not None:
            names |= set(finding.names)
    return names


def _findings() -> Iterator[Finding]:
    for name in FINDINGS:
        yield FINDINGS.load(name)
