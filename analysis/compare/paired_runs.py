"""Runs that share problems, compared problem by problem: a table of paired differences, as text and
as CSV.

Every run is compared with the first. A problem is shared if id, question and gold answer are the
same. Reads analyses.
"""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from ...engine.store.format.verdicts import CORRECT, NO_GOLD_ANSWER
from ...engine.store.write.results import publish
from ..findings.emergence import emergence_values
from ..registry import EXIT_RULES
from ..results import Analysis
from .paired import Paired, paired_means, paired_shares

NUMBERS = ("difference", "low", "high", "p", "n", "only_first", "only_second")


class Outcome(NamedTuple):
    """One number for each problem [problem], NaN where it has none, and its unit."""

    values: np.ndarray
    units: str
    is_share: bool


class Pairs(NamedTuple):
    """The compared runs by name, the rows of their shared problems, and how many problems each has
    alone.

    `other_content`: ids that name different problems in the two runs.
    """

    first: str
    second: str
    rows: np.ndarray
    first_alone: int
    second_alone: int
    other_content: int
    results: dict[str, Paired]
    units: dict[str, str]


def compare_pairs(analyses: Sequence[Analysis], names: Sequence[str]) -> list[Pairs]:
    """Each later analysis against the first, over the problems that both have, in the numbers
    `names`."""
    return [_compare(analyses[0], other, names) for other in analyses[1:]]


def outcomes(analysis: Analysis) -> dict[str, Outcome]:
    """Every number of the comparison as it is for each problem."""
    columns = analysis.problems
    steps = int(analysis.info["steps"])
    verdict = columns["verdict"]
    correct = np.where(verdict == NO_GOLD_ANSWER, np.nan, (verdict == CORRECT).astype(np.float64))
    found = {"accuracy": Outcome(correct, "1", True)}
    for name, row in emergence_values(columns, steps).items():
        found[f"emergence/{name}"] = Outcome(
            np.asarray(row.values, np.float64), row.units, row.is_share
        )
    for rule in EXIT_RULES:
        for part, units in (("accuracy", "1"), ("steps", "steps")):
            name = f"early_exit/{rule}/{part}"
            if name in columns:
                found[name] = Outcome(columns[name], units, part == "accuracy")
    return found


def _compare(first: Analysis, second: Analysis, names: Sequence[str]) -> Pairs:
    here = _rows(first)
    there = _rows(second)
    shared = [key for key in here if key in there]
    rows = np.array([(here[key], there[key]) for key in shared], np.int64).reshape(-1, 2)
    ids = [{name for name, _ in keys} for keys in (here, there)]
    one = outcomes(first)
    two = outcomes(second)
    results = {}
    for name in names:
        if name in one and name in two:
            test = paired_shares if one[name].is_share else paired_means
            results[name] = test(one[name].values[rows[:, 0]], two[name].values[rows[:, 1]])
    return Pairs(
        str(first.info["run"]),
        str(second.info["run"]),
        rows,
        len(ids[0] - ids[1]),
        len(ids[1] - ids[0]),
        len(ids[0] & ids[1]) - len(shared),
        results,
        {name: one[name].units for name in results},
    )


def _rows(analysis: Analysis) -> dict[tuple[str, str], int]:
    columns = analysis.problems
    contents = columns.get("content", np.full(len(columns["id"]), "", object))
    keys = zip(columns["id"], contents, strict=True)
    return {(str(name), str(content)): row for row, (name, content) in enumerate(keys)}


def pairs_text(pairs: Pairs, labels: dict[str, str]) -> str:
    """One table: difference with interval, p and n; shares in percentage points."""
    title = f"{pairs.second} against {pairs.first}, problem by problem"
    lines = [title, "-" * len(title), _shared_line(pairs)]
    if len(pairs.rows):
        table = [["", "difference", "95 % interval", "p", "n", "right in one alone"]]
        table += [
            _row(labels[name], result, pairs.units[name]) for name, result in pairs.results.items()
        ]
        widths = [max(len(row[column]) for row in table) for column in range(len(table[0]))]
        lines += [
            "  ".join(cell.ljust(w) for cell, w in zip(row, widths, strict=True)).rstrip()
            for row in table
        ]
        lines.append(
            "difference: second minus first; shares in percentage points, interval by Newcombe "
            "(1998, method 10), p by "
            "McNemar's exact test; means with Student's t; each p by itself, not corrected for "
            "the number of rows"
        )
    return "\n".join(lines) + "\n"


def _shared_line(pairs: Pairs) -> str:
    alone = (
        f"{pairs.first_alone} only in {pairs.first}, {pairs.second_alone} only in {pairs.second}"
    )
    other = f", {pairs.other_content} with one id but another text" if pairs.other_content else ""
    if not len(pairs.rows):
        return f"no problem in common ({alone}{other}): nothing can be paired"
    return (
        f"over the {len(pairs.rows)} problems that both runs have ({alone}{other}: left out here)"
    )


def _row(label: str, result: Paired, units: str) -> list[str]:
    if not result.n:
        return [label, "insufficient: no problem with a value in both", "", "", "0", ""]
    is_count = result.only_first is not None
    scale, unit = (100.0, " points") if is_count else (1.0, "" if units == "1" else f" {units}")
    known = math.isfinite(result.low)
    interval = (
        f"{scale * result.low:+.3g} to {scale * result.high:+.3g}" if known else "none (n < 2)"
    )
    alone = f"{result.only_first} first, {result.only_second} second" if is_count else ""
    p = f"{result.p:.2g}" if known else ""
    return [label, f"{scale * result.difference:+.3g}{unit}", interval, p, str(result.n), alone]


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
            values = ["" if part is None or part != part else repr(part) for part in result]
            writer.writerow([*head, name, *values, pairs.units[name]])
    publish(path, table.getvalue().encode())
    return Path(path)
