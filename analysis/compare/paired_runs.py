"""Runs that share problems, compared problem by problem: a table of paired differences, as text and
as CSV.

Every run is compared with the first. A problem is shared if id, question and gold answer are the
same. Samples of a problem are compared one by one, and n is the number of problems.
"""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from ...engine.store.counts import decodings_text, unit_of
from ...engine.store.format.verdicts import CORRECT, NO_GOLD_ANSWER
from ...engine.store.write.results import publish
from ..findings.emergence import emergence_values
from ..groups import Groups
from ..limits import status_of
from ..registry import EXIT_RULES
from ..results import Analysis
from .columns import aligned
from .paired import Paired, paired_means, paired_shares

TITLES = ["", "difference", "95 % interval", "p", "n", "right in one alone"]
NOTE = (
    "difference: second minus first; shares in percentage points, interval by Newcombe (1998, "
    "method 10), p by McNemar's exact test; means with Student's t; each p by itself, not "
    "corrected for the number of rows"
)
SAMPLES_NOTE = (
    "problems with several samples: sample by sample; n counts problems, intervals have the design "
    "effect of the difference, p turns the signs of whole problems; right in one alone counts "
    "samples"
)
NUMBERS = ("difference", "low", "high", "p", "n", "only_first", "only_second")


class Outcome(NamedTuple):
    """One number for each problem [problem], NaN where it has none, and its unit. `is_share`: each
    is 0 or 1."""

    values: np.ndarray
    units: str
    is_share: bool


class Pairs(NamedTuple):
    """The compared runs by name, the rows of their shared problems, and how many problems each has
    alone.

    `other_content`: ids that name different problems in the two runs. `problems`: how many problems
    of the input the shared rows are of.
    """

    first: str
    second: str
    rows: np.ndarray
    first_alone: int
    second_alone: int
    other_content: int
    results: dict[str, Paired]
    units: dict[str, str]
    problems: int


def compare_pairs(analyses: Sequence[Analysis], names: Sequence[str]) -> list[Pairs]:
    """Each later analysis against the first, over the problems that both have, in the numbers
    `names`."""
    return [_compare(analyses[0], other, names) for other in analyses[1:]]


def outcomes(analysis: Analysis) -> dict[str, Outcome]:
    """Every number of the comparison as it is for each problem."""
    columns = analysis.problems
    steps = int(analysis.info["steps"])
    verdict = columns["verdict"]
    is_correct = (verdict == CORRECT).astype(np.float64)
    correct = np.where(verdict == NO_GOLD_ANSWER, np.nan, is_correct)
    table = {"accuracy": Outcome(correct, "1", is_share=True)}

    for name, row in emergence_values(columns, steps).items():
        values = np.asarray(row.values, np.float64)
        table[f"emergence/{name}"] = Outcome(values, row.units, row.is_share)

    for rule in EXIT_RULES:
        for part, units in (("accuracy", "1"), ("steps", "steps")):
            name = f"early_exit/{rule}/{part}"
            if name in columns:
                is_share = part == "accuracy"
                table[name] = Outcome(columns[name], units, is_share)
    return table


def _compare(first: Analysis, second: Analysis, names: Sequence[str]) -> Pairs:
    first_rows = _rows(first)
    second_rows = _rows(second)
    shared = [key for key in first_rows if key in second_rows]
    pairs = [(first_rows[key], second_rows[key]) for key in shared]
    rows = np.array(pairs, np.int64).reshape(-1, 2)
    first_ids = {name for name, _ in first_rows}
    second_ids = {name for name, _ in second_rows}

    groups = _groups(first, second, rows)
    first_outcomes = outcomes(first)
    second_outcomes = outcomes(second)
    results: dict[str, Paired] = {}
    units: dict[str, str] = {}
    for name in names:
        if name in first_outcomes and name in second_outcomes:
            before = first_outcomes[name]
            after = second_outcomes[name]
            values_before = before.values[rows[:, 0]]
            values_after = after.values[rows[:, 1]]
            test = paired_shares if before.is_share else paired_means
            results[name] = test(values_before, values_after, groups)
            units[name] = before.units
    return Pairs(
        first=str(first.info["run"]),
        second=str(second.info["run"]),
        rows=rows,
        first_alone=len(first_ids - second_ids),
        second_alone=len(second_ids - first_ids),
        other_content=len(first_ids & second_ids) - len(shared),
        results=results,
        units=units,
        problems=groups.count(),
    )


def _groups(first: Analysis, second: Analysis, rows: np.ndarray) -> Groups:
    """Which of the shared rows are samples of one problem; each is its own where neither analysis
    is of several samples."""
    for analysis, of_pairs in ((first, rows[:, 0]), (second, rows[:, 1])):
        if "group_id" in analysis.problems:
            return Groups.of(analysis.problems["group_id"][of_pairs].tolist())
    return Groups.single(len(rows))


def _rows(analysis: Analysis) -> dict[tuple[str, str], int]:
    """Row of each problem by its id and the digest of its content."""
    columns = analysis.problems
    ids = columns["id"]
    no_contents = np.full(len(ids), "", object)
    contents = columns.get("content", no_contents)
    rows = {}
    for row, name in enumerate(ids):
        key = (str(name), str(contents[row]))
        rows[key] = row
    return rows


def pairs_text(pairs: Pairs, labels: dict[str, str]) -> str:
    """One table: difference with interval, p and n; shares in percentage points."""
    title = f"{pairs.second} against {pairs.first}, problem by problem"
    lines = [title, "-" * len(title), _shared_line(pairs)]
    if len(pairs.rows):
        table = [TITLES]
        for name, result in pairs.results.items():
            table.append(_row(labels[name], result, pairs.units[name]))
        lines += [*aligned(table), NOTE]
        if pairs.problems < len(pairs.rows):
            lines.append(SAMPLES_NOTE)
    return "\n".join(lines) + "\n"


def _shared_line(pairs: Pairs) -> str:
    parts = [
        f"{pairs.first_alone} only in {pairs.first}",
        f"{pairs.second_alone} only in {pairs.second}",
    ]
    if pairs.other_content:
        parts.append(f"{pairs.other_content} with one id but another text")
    others = ", ".join(parts)
    shared = len(pairs.rows)
    if not shared:
        return f"no problem in common ({others}): nothing can be paired"
    unit = unit_of(shared, pairs.problems)
    in_common = decodings_text(shared, unit, pairs.problems)
    return f"over the {in_common} that both runs have ({others}: left out here)"


def _row(label: str, result: Paired, units: str) -> list[str]:
    """Difference, interval, p, n and the problems that are right in one run alone, as text."""
    if not result.n:
        return [label, status_of("no problem with a value in both"), "", "", "0", ""]
    is_count = result.only_first is not None
    alone = ""
    scale = 1.0
    if is_count:
        alone = f"{result.only_first} first, {result.only_second} second"
        scale = 100.0
    unit = _unit_text(units, is_count=is_count)
    difference = f"{scale * result.difference:+.3g}{unit}"
    n = str(result.n)
    if not math.isfinite(result.low):
        return [label, difference, "none (n < 2)", "", n, alone]

    low = scale * result.low
    high = scale * result.high
    interval = f"{low:+.3g} to {high:+.3g}"
    p = f"{result.p:.2g}"
    return [label, difference, interval, p, n, alone]


def _unit_text(units: str, *, is_count: bool) -> str:
    if is_count:
        return " points"
    return "" if units == "1" else f" {units}"


def write_pairs(all_pairs: Sequence[Pairs], path: str | Path) -> Path:
    """The tables as CSV, one line a pair of runs and number; shares as fractions. Raises
    OSError."""
    table = io.StringIO()
    writer = csv.writer(table, lineterminator="\n")
    writer.writerow(
        ["first", "second", "shared", "first_alone", "second_alone", "quantity", *NUMBERS, "units"]
    )
    for pairs in all_pairs:
        head = [pairs.first, pairs.second, len(pairs.rows), pairs.first_alone, pairs.second_alone]
        for name, result in pairs.results.items():
            values = [_cell(part) for part in result]
            writer.writerow([*head, name, *values, pairs.units[name]])
    publish(path, table.getvalue().encode())
    return Path(path)


def _cell(number: float | None) -> str:
    """A number in full, nothing for a missing one."""
    return "" if number is None or math.isnan(number) else repr(number)
