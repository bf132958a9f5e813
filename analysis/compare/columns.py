"""A table as lines of text, each column as wide as its widest cell."""

from __future__ import annotations

from collections.abc import Sequence


def aligned(rows: Sequence[Sequence[str]]) -> list[str]:
    """One line a row; the columns two spaces apart."""
    widths = []
    for column in zip(*rows, strict=True):
        widths.append(max(map(len, column)))

    lines = []
    for row in rows:
        cells = [cell.ljust(width) for cell, width in zip(row, widths, strict=True)]
        lines.append("  ".join(cells).rstrip())
    return lines
