"""Several runs side by side: emergence numbers with the final accuracy beside them, as a text table
and as CSV.

An early answer is worth what the regime's accuracy is: random remasking knows the answer early and
gets fewer right. Reads only analyses. Where runs share problems, `paired_runs` compares them
problem by problem, which says far more.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Callable, Iterable, Sequence
from functools import partial
from pathlib import Path
from typing import NamedTuple

import numpy as np

from ...engine.store.write.results import publish
from ..limits import OK
from ..quantity import Quantity
from ..registry import EXIT_RULES
from ..results import Analysis
from ..shares import percent
from ..wording import error_of, plus_minus
from .columns import aligned
from .paired_runs import compare_pairs, pairs_text

TITLE = "Runs side by side"
NOTE = (
    "shares with their 95 % interval (Wilson), of all graded problems unless said; else value +- "
    "standard error; exits are replayed, counterfactual"
)
SETTINGS = ("policy", "remasking", "temperature")
SIZES = ("steps", "block_length")
COLUMNS = (
    "run",
    *SETTINGS,
    *SIZES,
    "quantity",
    "value",
    "stderr",
    "n",
    "units",
    "status",
    "low",
    "high",
    "unfinished",
    "setting",
    "reference",
)
"""Of comparison.csv. `setting`: what sets a run apart from others of its policy; `reference`: the
run that it is measured from."""
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
    rows = [["", *_each(analyses, lambda analysis: str(analysis.info["run"]))]]
    for name in (*SETTINGS, *SIZES, "n"):
        rows.append([name, *_each(analyses, partial(_setting, name=name))])
    for name, label in NUMBERS.items():
        rows.append([label, *_each(analyses, partial(_number, name=name))])

    notes = []
    for analysis in analyses:
        if analysis.info.get("unfinished"):
            notes.append(f"{analysis.info['run']}: {analysis.info['unfinished']}")
    pairs = [pairs_text(pair, NUMBERS) for pair in compare_pairs(analyses, list(NUMBERS))]
    parts = [TITLE, "-" * len(TITLE), *aligned(rows), "", *notes, NOTE]
    return "\n".join([*pairs, *parts]) + "\n"


def write_comparison(
    analyses: Sequence[Analysis], path: str | Path, *, more: Iterable[Sequence[object]] = ()
) -> Path:
    """The same as CSV, one line a run and number: run, settings, quantity, value and how sure it
    is. `more`: further lines, in the order of `COLUMNS`."""
    table = io.StringIO()
    writer = csv.writer(table, lineterminator="\n")
    writer.writerow(COLUMNS)
    for analysis in analyses:
        run = str(analysis.info["run"])
        settings = [_setting(analysis, name) for name in (*SETTINGS, *SIZES)]
        unfinished = analysis.info.get("unfinished", "")
        for name in NUMBERS:
            cells = csv_cells(name, _cell(analysis, name))
            writer.writerow([run, *settings, *cells, unfinished, "", ""])
    writer.writerows(more)
    publish(path, table.getvalue().encode())
    return Path(path)


def csv_cells(name: str, cell: Cell) -> list[object]:
    """Quantity, value and how sure it is, numbers in full."""
    return [
        name,
        _in_full(cell.value),
        _in_full(cell.stderr),
        cell.n,
        cell.units,
        cell.status,
        _in_full(cell.low),
        _in_full(cell.high),
    ]


def _each(analyses: Sequence[Analysis], text: Callable[[Analysis], str]) -> list[str]:
    return [text(analysis) for analysis in analyses]


def _in_full(number: float | None) -> str:
    return "" if number is None else repr(number)


def _setting(analysis: Analysis, name: str) -> str:
    """A setting, a size of the run, or `n`, its number of problems."""
    if name == "n":
        missing = len(analysis.info.get("missing", []))
        count = str(analysis.info["n_problems"])
        return f"{count} (unfinished: {missing} missing)" if missing else count
    if name in SIZES:
        size = analysis.info.get(name, "")
        has_no_blocks = name == "block_length" and size == 0
        return "none" if has_no_blocks else str(size)
    return str(analysis.info["settings"].get(name, ""))


def _number(analysis: Analysis, name: str) -> str:
    return _text(_cell(analysis, name))


def _cell(analysis: Analysis, name: str) -> Cell:
    if name not in analysis:
        return Cell(None, None, 0, "", "not computed")
    return cell_of(analysis[name])


def cell_of(quantity: Quantity) -> Cell:
    """A single number as a cell; without its value where the status forbids it."""
    n = int(np.max(quantity.n))
    if not quantity.ok:
        return Cell(None, None, n, quantity.units, quantity.status)
    cell = Cell(float(quantity.values), error_of(quantity), n, quantity.units, OK)
    if quantity.interval is None:
        return cell
    low, high = quantity.interval
    return cell._replace(low=float(low), high=float(high))


def _text(cell: Cell) -> str:
    if cell.value is None:
        return cell.status.partition(":")[0]
    if cell.low is not None and cell.high is not None:
        return percent(cell.value, cell.low, cell.high)
    unit = "" if cell.units == "1" else f" {cell.units}"
    return f"{cell.value:.3g}{plus_minus(cell.stderr)}{unit}"
