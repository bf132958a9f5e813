"""The names of all quantities that an analysis can hold, for `diffengine list` and for tests that
compare them with what it does hold.
"""

from __future__ import annotations

from .findings.finding import Finding
from .registry import FINDINGS, METRICS
from .slow_parts import slow_names


def quantity_names() -> list[str]:
    """Every quantity, in the order of an analysis that was asked for all of them."""
    return [*METRICS, *finding_names()]


def finding_names() -> list[str]:
    """The quantities that are no metrics: made from metrics, or from the states."""
    names: list[str] = []
    for name in FINDINGS:
        finding: Finding = FINDINGS.load(name)
        names += finding.names
    return [*names, *slow_names()]
