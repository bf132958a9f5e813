"""The table of emergence: how many problems are right early, how often a right guess is given up,
and in which order positions are committed.

Shares are of all problems with a gold answer; those in `..._correct` of the finally correct ones,
the selection that Prophet (arXiv 2508.19982) reports, here beside the whole.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import NamedTuple

import numpy as np

from ...engine.store.format.verdicts import CORRECT, NO_GOLD_ANSWER
from ..groups import Groups
from ..limits import NO_BLOCKS
from ..metrics.trajectories import block_length_of
from ..quantity import Quantity
from .finding import Finding, Material

EARLY = (25, 50)
"""Percent of a problem's own steps by which the table counts hits."""
MISSING = "no problem has a value"
NAMES = (
    "ever_pass",
    "pass_lost",
    "hits_lost",
    "guess_changes",
    "settled_step",
    "answer_commit_step",
    "commit_order",
    "commit_order_in_block",
    "ordered_pairs",
    *(
        f"{kind}_hit_by_{percent}{which}"
        for percent in EARLY
        for kind in ("first", "stable")
        for which in ("", "_correct")
    ),
)
"""The numbers of the table; the quantities are `emergence/<name>`."""


class Row(NamedTuple):
    """One number of the table for each problem [N], NaN where it has none. `is_share`: each is 0 or
    1."""

    values: np.ndarray
    units: str
    label: str
    is_share: bool = False


def emergence_table(
    columns: Mapping[str, np.ndarray], steps: int, groups: Groups | None = None
) -> dict[str, Quantity]:
    """`emergence/...` single numbers with error and n, over the problems that have a value
    (`emergence_values`); `groups`: which rows are samples of one problem."""
    table: dict[str, Quantity] = {}
    for name, row in emergence_values(columns, steps).items():
        if row.is_share:
            quantity = Quantity.share_of_problems(
                row.values, label=row.label, missing=MISSING, groups=groups
            )
        else:
            quantity = Quantity.over_problems(
                row.values, units=row.units, label=row.label, missing=MISSING, groups=groups
            )
        table[f"emergence/{name}"] = quantity
    return table


def emergence_values(columns: Mapping[str, np.ndarray], steps: int) -> dict[str, Row]:
    """The numbers of `emergence_table` for each problem, from the problems' columns (`Events`,
    `verdict`)."""
    return _ever_right(columns) | _over_time(columns) | dict(_early_hits(columns, steps))


def _ever_right(columns: Mapping[str, np.ndarray]) -> dict[str, Row]:
    """Whether a problem was right at any step, and how often that was given up."""
    verdict = columns["verdict"]
    graded = verdict != NO_GOLD_ANSWER
    correct = verdict == CORRECT
    ever = correct | (columns["first_hit_step"] >= 0)
    return {
        "ever_pass": Row(
            _of(ever, graded),
            "1",
            "EverPass: share right in the end or at any step (MidTruth, 2508.09138)",
            is_share=True,
        ),
        "pass_lost": Row(
            _of(ever & ~correct, graded),
            "1",
            "EverPass - Pass: share right at some step, not in the end",
            is_share=True,
        ),
        "hits_lost": Row(
            _of(columns["hits_lost"], graded),
            "1",
            "times that a right guess is given up, per problem",
        ),
    }


def _over_time(columns: Mapping[str, np.ndarray]) -> dict[str, Row]:
    """When guess and commits come to rest, and in which order positions are committed."""
    return {
        "guess_changes": Row(
            columns["guess_changes"],
            "1",
            "steps at which the guess at the answer's place changes",
        ),
        "settled_step": Row(
            _step(columns["settled_step"]),
            "steps",
            "step from which on the guess stays, right or wrong",
        ),
        "answer_commit_step": Row(
            _step(columns["answer_commit_step"]),
            "steps",
            "step that commits the answer's last position",
        ),
        "commit_order": Row(
            columns["commit_order"],
            "1",
            "rank correlation of commit step and position (Spearman); commits of one step have "
            "their mean rank",
        ),
        "commit_order_in_block": Row(
            columns["commit_order_in_block"],
            "1",
            "the same within blocks, mean over blocks",
        ),
        "ordered_pairs": Row(
            _column(columns, "ordered_pairs"),
            "1",
            "pairs of positions that commit at different steps, of all pairs; the others have no "
            "order",
        ),
    }


def _early_hits(columns: Mapping[str, np.ndarray], steps: int) -> Iterator[tuple[str, Row]]:
    """Hits by a share of a problem's own steps, those until its end: first and stable ones, of all
    graded and of the correct."""
    verdict = columns["verdict"]
    own_steps = columns["end_step"] + 1 if "end_step" in columns else steps
    for percent in EARLY:
        for kind in ("first", "stable"):
            step = columns[f"{kind}_hit_step"]
            early = (step >= 0) & (step + 1 <= percent * own_steps / 100)
            text = f"share with a {kind} hit within {percent} % of the steps"
            name = f"{kind}_hit_by_{percent}"

            graded = _of(early, verdict != NO_GOLD_ANSWER)
            yield name, Row(graded, "1", f"{text}, all graded problems", is_share=True)
            correct = _of(early, verdict == CORRECT)
            label = f"{text}, finally correct problems"
            yield f"{name}_correct", Row(correct, "1", label, is_share=True)


def _column(columns: Mapping[str, np.ndarray], name: str) -> np.ndarray:
    """A column that analyses of earlier versions do not have, NaN there."""
    missing = np.full(len(columns["verdict"]), np.nan)
    return np.asarray(columns.get(name, missing))


def _of(values: np.ndarray, chosen: np.ndarray) -> np.ndarray:
    return np.where(chosen, values.astype(np.float64), np.nan)


def _step(step: np.ndarray) -> np.ndarray:
    """Steps as floats, NaN where it never happened."""
    return np.where(step >= 0, step.astype(np.float64), np.nan)


def _make(material: Material) -> dict[str, Quantity]:
    table = emergence_table(material.trajectories.columns, material.steps, material.groups)
    in_block = "emergence/commit_order_in_block"
    if not block_length_of(material.run):
        table[in_block] = table[in_block].undefined(NO_BLOCKS)
    return table


FINDING = Finding(tuple(f"emergence/{name}" for name in NAMES), _make)
