"""The summary's sections on answer emergence and early exits.

Every number with its unit and n.
"""

from __future__ import annotations

from ..findings.emergence import NAMES as EMERGENCE
from ..registry import EXIT_RULES
from ..results import Analysis, Quantity
from ..wording import n_text, value_text

EXIT_PARTS = ("accuracy", "accuracy_change", "steps")


def emergence_lines(analysis: Analysis) -> list[str]:
    """The table of `emergence/...`, final accuracy first."""
    lines = [f"Pass: share correct in the end: {_value(analysis['accuracy'])}"]
    for name in EMERGENCE:
        if f"emergence/{name}" in analysis:
            quantity = analysis[f"emergence/{name}"]
            lines.append(f"{quantity.label}: {_value(quantity)}")
    return lines


def exit_lines(analysis: Analysis) -> list[str]:
    """One line a rule: accuracy, its paired change, forward passes."""
    lines = []
    for rule in EXIT_RULES:
        names = [f"early_exit/{rule}/{part}" for part in EXIT_PARTS]
        if all(name in analysis for name in names):
            accuracy, change, steps = (_value(analysis[name]) for name in names)
            lines.append(f"{rule}: accuracy {accuracy}; change {change}; {steps}")
    return lines


def _value(quantity: Quantity) -> str:
    if not quantity.ok:
        return quantity.status
    return f"{value_text(quantity)} ({n_text(quantity)})"
