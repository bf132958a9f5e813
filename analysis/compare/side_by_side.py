"""Several runs side by side: emergence numbers with the final accuracy beside them, as a text table
and as CSV.

An early answer is worth what the regime's accuracy is: random remasking knows the answer early and
gets fewer right. Reads only analyses. Where runs share problems, `paired_runs` compares them
problem by problem, which says far more.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from ...engine.store.write.results import publish
from ..registry import EXIT_RULES
from ..results import Analysis
from ..shares import percent
from ..wording import plus_minus
from .paired_runs import compare_pairs, pairs_text

SETTINGS = ("policy", "remasking", "temperature")
NUMBERS: dict[str, str] = {
    "accuracy": "accuracy (Pass)",
    "emergence/ever_pass": "EverPass",
    "emergence/first_hit_by_25": "first hit by 25 % of steps",
    "emergence/first_hit_by_50": "first hit by 50 % of steps",
    "emergence/stable_hit_by_25": "stable hit by 25 % of steps",
    "emergence/stable_hit_by_50": "stable hit by 50 % of steps",
    "emergence/first_hit_by_50_correct": "first hit by 50 %, correct only",
    "emergence/stable_hit_by_50_correct": "stable hit by 50 %, correct only",
    "emergence/hits_lost": "hits lost per problem",
    "emergence/settled_step": "answer settled at step",
    "emergence/answer_commit_step": "answer committed at step",
    "emergence/commit_order": "commit order against position",
    "emergence/commit_order_in_block": "the same within blocks",
    **{
        f"early_exit/{rule}/{part}": f"exit {rule.replace('_', ' ')}: {part}"
        for rule in EXIT_RULES
        for part in ("accuracy", "steps")
    },
}


class Cell(NamedTuple):
    """A value with its standard error, n and unit; empty text where there is none, and why. A share
    has the ends of its 95 % interval instead of an error."""

    value: float | None
    stderr: float | None
    n: int
    units: str
    status: str
    low: float | None = None
    high: float | None = None


def compare_text(analyses: Sequence[Analysis]) -> str:
    """Paired differences from the first run where problems are shared, then a table with one column
    a run."""
    rows = [["", *(str(one.info["run"]) for one in analyses)]]
    rows += [
        [name, *(_setting(one, name) for one in analyses)]
        for name in (*SETTINGS, "steps", "block_length", "n")
    ]
    rows += [
        [label, *(_text(_cell(one, name)) for one in analyses)] for name, label in NUMBERS.items()
    ]
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    lines = [
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()
        for row in rows
    ]
    note = (
        "shares with their 95 % interval (Wilson), of all graded problems unless said; else value "
        "+- standard error; "
        "exits are replayed, counterfactual"
    )
    notes = [
        f"{one.info['run']}: {one.info['unfinished']}"
        for one in analyses
        if one.info.get("unfinished")
    ]
    pairs = [pairs_text(one, NUMBERS) for one in compare_pairs(analyses, list(NUMBERS))]
    parts = ["Runs side by side", "-----------------", *lines, "", *notes, note]
    return "\n".join([*pairs, *parts]) + "\n"


def write_comparison(analyses: Sequence[Analysis], path: str | Path) -> Path:
    """The same as CSV, one line a run and number: run, settings, quantity, value and how sure it
    is."""
    table = io.StringIO()
    writer = csv.writer(table, lineterminator="\n")
    names = ["quantity", "value", "stderr", "n", "units", "status", "low", "high", "unfinished"]
    writer.writerow(["run", *SETTINGS, "steps", "block_length", *names])
    for one in analyses:
        settings = [_setting(one, name) for name in (*SETTINGS, "steps", "block_length")]
        for name in NUMBERS:
            cell = _cell(one, name)
            value, stderr, low, high = (
                "" if part is None else repr(part)
                for part in (cell.value, cell.stderr, cell.low, cell.high)
            )
            row = [
                name,
                value,
                stderr,
                cell.n,
                cell.units,
                cell.status,
                low,
                high,
                one.info.get("unfinished", ""),
            ]
            writer.writerow([one.info["run"], *settings, *row])
    publish(path, table.getvalue().encode())
    return Path(path)


def _setting(analysis: Analysis, name: str) -> str:
    if name == "n":
        missing = len(analysis.info.get("missing", []))
        return f"{analysis.info['n_problems']}" + (
            f" (unfinished: {missing} missing)" if missing else ""
        )
    return str(analysis.info.get(name, analysis.info["settings"].get(name, "")))


def _cell(analysis: Analysis, name: str) -> Cell:
    if name not in analysis:
        return Cell(None, None, 0, "", "not computed")
    quantity = analysis[name]
    n = int(quantity.n) if isinstance(quantity.n, int) else int(quantity.n.max())
    if not quantity.ok:
        return Cell(None, None, n, quantity.units, quantity.status)
    stderr = None if quantity.stderr is None else float(quantity.stderr)
    low, high = (
        (None, None) if quantity.interval is None else (float(end) for end in quantity.interval)
    )
    return Cell(float(quantity.values), stderr, n, quantity.units, "ok", low, high)


def _text(cell: Cell) -> str:
    if cell.value is None:
        return cell.status.partition(":")[0]
    if cell.low is not None and cell.high is not None:
        return percent(cell.value, cell.low, cell.high)
    unit = "" if cell.units == "1" else f" {cell.units}"
    return f"{cell.value:.3g}{plus_minus(cell.stderr)}{unit}"
