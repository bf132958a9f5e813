"""What an analysis looks like at a prompt or in a notebook: at most forty lines, however many steps
and problems. `summary` is the account for readers.
"""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

import numpy as np

from ..engine.store.counts import count_text

if TYPE_CHECKING:
    from .results import Analysis, Quantity

MOST_NUMBERS = 12
WIDTH = 110


def quantity_repr(quantity: Quantity) -> str:
    """One quantity in a few lines: label, dimensions, n, unit, status, and the first and last of
    its values."""
    sizes = ", ".join(
        f"{dim}: {length}"
        for dim, length in zip(quantity.dims, np.shape(quantity.values), strict=False)
    )
    with np.printoptions(threshold=8, edgeitems=2, precision=4):
        values = str(np.asarray(quantity.values))
    about = f"({sizes}) [{quantity.units}] n = {n_text(quantity)}, {quantity.status}"
    return f"<Quantity {about}: {quantity.label}\n{values}>"


def n_text(quantity: Quantity) -> str:
    """The number of problems behind a quantity, as a range where it differs between entries."""
    counts = np.asarray(quantity.n)
    if counts.size == 0:
        return "none"
    low = int(counts.min())
    high = int(counts.max())
    return str(low) if low == high else f"{low} to {high}"


def analysis_repr(analysis: Analysis) -> str:
    """What is in an analysis: its run, single numbers with error and n, the curves by name, spikes
    and problems."""
    info = analysis.info
    spikes = [f"{rule} {len(spikes)}" for rule, spikes in analysis.spikes.items()]
    seen = [sign.name for sign in analysis.patterns if sign.verdict == "seen"]
    lines = [
        f"<Analysis of {info.get('run', 'a run')}: "
        f"{count_text(info.get('n_problems', '?'), 'problem')}, "
        f"{count_text(len(analysis.quantities), 'quantity', 'quantities')}",
        *_number_lines(analysis),
        *_wrapped("curves and matrices: ", _curve_groups(analysis)),
        *_wrapped("spikes: ", spikes),
        f"  S-curve: {analysis.s_curve.verdict}",
        *_wrapped("signs seen: ", seen or ["none"]),
        *_wrapped("columns of problems: ", list(analysis.problems)),
        f"  {count_text(len(info.get('warnings', [])), 'warning')} in .info['warnings']",
        "  analysis['NAME'] is a quantity; .quantities .spikes .s_curve .patterns .problems .info "
        "hold all>",
    ]
    return "\n".join(_shortened(line) for line in lines)


def _number_lines(analysis: Analysis) -> list[str]:
    """The first of the single numbers, the accuracy in front."""
    names = [name for name, quantity in analysis.quantities.items() if not quantity.dims]
    names.sort(key=lambda name: name != "accuracy")  # what is asked first stands first
    lines = [f"  {name} = {_number(analysis.quantities[name])}" for name in names[:MOST_NUMBERS]]
    if len(names) > MOST_NUMBERS:
        more = count_text(len(names) - MOST_NUMBERS, "more number")
        lines.append(f"  ... and {more}")
    return lines


def _curve_groups(analysis: Analysis) -> list[str]:
    """The curves by the first part of their names, with their number."""
    counts = Counter(
        name.split("/")[0] for name, quantity in analysis.quantities.items() if quantity.dims
    )
    return [f"{group}/... ({count})" if count > 1 else group for group, count in counts.items()]


def _shortened(line: str) -> str:
    longest = WIDTH * 2
    return line if len(line) <= longest else line[: longest - 3] + "..."


def _number(quantity: Quantity) -> str:
    if not quantity.ok:
        return quantity.status
    error = "" if quantity.stderr is None else f" +- {float(quantity.stderr):.2g}"
    unit = "" if quantity.units == "1" else f" {quantity.units}"
    return f"{float(quantity.values):.4g}{error}{unit} (n = {n_text(quantity)})"


def _wrapped(title: str, words: list[str], *, most: int = 5) -> list[str]:
    """`title` and the words in lines of WIDTH, at most `most` of them; nothing for no words."""
    lines: list[str] = []
    current = f"  {title}"
    for place, word in enumerate(words):
        more = word + (", " if place < len(words) - 1 else "")
        if len(current) + len(more) > WIDTH and current.strip():
            if len(lines) == most - 1:
                return [*lines, f"{current}... and {len(words) - place} more"]
            lines.append(current.rstrip())
            current = "    "
        current += more
    return [*lines, current.rstrip()] if words else []
