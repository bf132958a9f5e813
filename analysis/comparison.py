"""Several runs side by side: emergence numbers with the final accuracy beside them, as a text table and as CSV.

An early answer is worth what the regime's accuracy is: random remasking knows the answer early and gets fewer right.
Reads only analyses. Compares nothing statistically: runs over the same problems are paired, which this table ignores.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from .publish import publish
from .registry import EXIT_RULES
from .results import Analysis
from .wording import plus_minus

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
    **{f"early_exit/{rule}/{part}": f"exit {rule.replace('_', ' ')}: {part}"
       for rule in EXIT_RULES for part in ("accuracy", "steps")},
}  # fmt: skip


class Cell(NamedTuple):
    """A value with its standard error, n and unit; empty text where there is none, and why."""

    value: float | None
    stderr: float | None
    n: int
    units: str
    status: str


def compare_text(analyses: Sequence[Analysis]) -> str:
    """The table as text, one column a run, value ± standard error."""
    rows = [["", *(str(one.info["run"]) for one in analyses)]]
    rows += [[name, *(_setting(one, name) for one in analyses)] for name in (*SETTINGS, "steps", "block_length", "n")]
    rows += [[label, *(_text(_cell(one, name)) for one in analyses)] for name, label in NUMBERS.items()]
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    lines = ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows]
    note = "value +- standard error; shares are of all graded problems unless said; exits are replayed, counterfactual"
    return "\n".join(["Runs side by side", "-----------------", *lines, "", note]) + "\n"


def write_comparison(analyses: Sequence[Analysis], path: str | Path) -> Path:
    """The same as CSV, one line a run and number: run, settings, quantity, value, stderr, n, units, status."""
    table = io.StringIO()
    writer = csv.writer(table, lineterminator="\n")
    writer.writerow(["run", *SETTINGS, "steps", "block_length", "quantity", "value", "stderr", "n", "units", "status"])
    for one in analyses:
        settings = [_setting(one, name) for name in (*SETTINGS, "steps", "block_length")]
        for name in NUMBERS:
            value, stderr, n, units, status = _cell(one, name)
            numbers = ["" if part is None else repr(part) for part in (value, stderr)]
            writer.writerow([one.info["run"], *settings, name, *numbers, n, units, status])
    publish(path, table.getvalue().encode())
    return Path(path)


def _setting(analysis: Analysis, name: str) -> str:
    if name == "n":
        return str(analysis.info["n_problems"])
    return str(analysis.info.get(name, analysis.info["settings"].get(name, "")))


def _cell(analysis: Analysis, name: str) -> Cell:
    if name not in analysis:
        return Cell(None, None, 0, "", "not computed")
    quantity = analysis[name]
    n = int(quantity.n) if isinstance(quantity.n, int) else int(quantity.n.max())
    if not quantity.ok:
        return Cell(None, None, n, quantity.units, quantity.status)
    stderr = None if quantity.stderr is None else float(quantity.stderr)
    return Cell(float(quantity.values), stderr, n, quantity.units, "ok")


def _text(cell: Cell) -> str:
    if cell.value is None:
        return cell.status.partition(":")[0]
    unit = "" if cell.units == "1" else f" {cell.units}"
    return f"{cell.value:.3g}{plus_minus(cell.stderr)}{unit}"
