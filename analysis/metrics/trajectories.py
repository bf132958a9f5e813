"""One pass over a run: every registered metric for each problem and step, in bounded memory.

Reads the run in blocks of problems; keeps [problem, step] reductions, a few columns and the mean
CKA matrix. Knows nothing of what a metric means, nor of means over problems of anything but that
matrix.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from ...engine.store.format.schema import VARIABLES
from ..means import Mean, MeanOverBlocks
from ..registry import METRICS, Metric, resolve
from .block import Block, digit_ids, read_block
from .emergence import Events, events
from .slot import extracted, gold_length, slot_status

if TYPE_CHECKING:
    from ...engine.store import Run

BLOCK_BYTES = 128 * 2**20
"""Target size of the raw variables of a block; temporaries take about three times that."""

COLUMNS = ("verdict", "answer_start", "answer_end", "n_forwards", "seconds", "answer_token_id")


class Trajectories(NamedTuple):
    """What one pass over the run yields; rows in the run's order.

    `metrics`: name -> [problem, step] float64. `columns`: name -> [problem] or [problem,
    answer_token]. `cka_matrix`: mean over problems [step, other_step]. `mismatched_masks`: problems
    where the recorded `n_masked` contradicts the recorded commits.
    """

    metrics: dict[str, np.ndarray]
    columns: dict[str, np.ndarray]
    cka_matrix: Mean
    mismatched_masks: int


def read_trajectories(run: Run, *, answer_position: int | None = None) -> Trajectories:
    """Stream `run` once and reduce it. Raises KeyError if the run lacks a variable that a metric
    needs.

    `answer_position`: look for the gold answer at this generated position in every problem (a fixed
    slot, as when the prompt fixes where the answer is written) instead of where each problem's
    answer was found.
    """
    problems = len(run.ids)
    steps = steps_of(run)
    metrics = {name: np.full((problems, steps), np.nan) for name in METRICS}
    reductions = {
        name: resolve(m.function) for name, m in METRICS.items() if not unrecorded(run, m)
    }
    columns: dict[str, np.ndarray] = {}
    matrix = MeanOverBlocks((steps, steps))
    mismatched = 0
    digits = digit_ids(Path(run.path))
    block_length = int(run.info["config"]["block_length"])
    for part in run.blocks(_needed(run), max_problems=_block_problems(run)) if problems else ():
        block = read_block(
            part if answer_position is None else _fixed(part, answer_position), digits
        )
        rows = np.asarray(part["row"])
        for name, values in _reduce(block, reductions).items():
            metrics[name][rows] = values
        for name, column in _columns(block, block_length).items():
            columns.setdefault(name, np.empty((problems, *column.shape[1:]), column.dtype))[
                rows
            ] = column
        matrix.add(np.asarray(part["cka"], np.float64))
        mismatched += _mismatched_masks(block)
    return Trajectories(metrics, columns or _empty_columns(), matrix.result(), mismatched)


def steps_of(run: Run) -> int:
    """Number of steps of the run, from its configuration while no problem is stored."""
    return _length(run, "performed", 1) if run.ids else int(run.info["config"]["steps"])


def _reduce(
    block: Block, reductions: Mapping[str, Callable[[Block], np.ndarray]]
) -> dict[str, np.ndarray]:
    return {name: reduce(block) for name, reduce in reductions.items()}


def _needed(run: Run) -> list[str]:
    wanted = {
        name: None
        for metric in METRICS.values()
        if not unrecorded(run, metric)
        for name in metric.variables
    }
    always = dict.fromkeys(("performed", "committed", "n_masked", "cka", *COLUMNS))
    more = ("topk_id", "topk_logit", "logsumexp")
    return list(
        always | wanted | (dict.fromkeys(more) if all(name in run for name in more) else {})
    )


def _fixed(part: Mapping[str, np.ndarray], start: int) -> dict[str, np.ndarray]:
    """The block with the answer slot at `start` in every problem that has a gold answer, as long as
    that."""
    length = (np.asarray(part["answer_token_id"]) >= 0).sum(axis=1)
    known = length > 0
    slot = {
        "answer_start": np.where(known, start, -1),
        "answer_end": np.where(known, start + length, -1),
    }
    return {**part, **{name: values.astype(np.int32) for name, values in slot.items()}}


def _block_problems(run: Run) -> int:
    """How many problems fit a block: the largest variables are [step, position, answer_token or k],
    [step, step]."""
    steps = _length(run, "committed", 1)
    positions = _length(run, "committed", 2)
    tokens = _length(run, "answer_token_id", 1) + (
        2 * _length(run, "topk_id", 3) if "topk_id" in run else 0
    )
    per_problem = 4 * steps * (positions * (tokens + 3) + steps)
    return int(np.clip(BLOCK_BYTES // max(per_problem, 1), 1, 64))


def _length(run: Run, variable: str, axis: int) -> int:
    return int(run[variable].shape[axis])


def _columns(block: Block, block_length: int) -> dict[str, np.ndarray]:
    columns = {name: np.asarray(block.variables[name]) for name in COLUMNS}
    columns["gold_length"] = gold_length(block)
    columns["slot_status"] = slot_status(block)
    columns["answer_commit_step"] = np.where(extracted(block), block.commit_step, -1).max(
        axis=1, initial=-1
    )
    return columns | events(block, block_length=block_length)._asdict()


def _empty_columns() -> dict[str, np.ndarray]:
    names = (*COLUMNS, "gold_length", "slot_status", "answer_commit_step", *Events._fields)
    return {name: np.zeros((0, 0) if name == "answer_token_id" else 0, np.int32) for name in names}


def _mismatched_masks(block: Block) -> int:
    seen = block.masked.sum(axis=2)
    recorded = np.asarray(block.variables["n_masked"])
    return int(((seen != recorded) & block.performed).any(axis=1).sum())


def unrecorded(run: Run, metric: Metric) -> str:
    """The optional variables that `metric` needs and this run did not store, with commas
    between."""
    return ", ".join(
        name for name in metric.variables if VARIABLES[name].optional and name not in run
    )


def positions_missing(run: Run, metric: Metric) -> bool:
    """Whether `metric` needs positions that this run did not record."""
    return metric.every_position and run.info["config"].get("record", "all") != "all"
