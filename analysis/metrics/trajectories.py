"""One pass over a run: every metric for each problem and step, in bounded memory.

Reads the run in blocks of problems; keeps [problem, step] reductions, a few columns and the mean
CKA matrix.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from ...engine.optional_parts import in_short
from ...engine.registry import Row
from ...engine.store.format.schema import VARIABLES
from ..groups import Groups
from ..means import Mean, MeanOverBlocks, MeanOverGroups
from .block import Block, also, digit_ids, end_step, kept_after_end, read_block
from .ends import Ends, ends
from .events import Events, events
from .loading import Metrics, load_metrics, whose
from .metric import Metric

if TYPE_CHECKING:
    from ...engine.store import Run

BLOCK_BYTES = 128 * 2**20
"""Target size of the raw variables of a block; temporaries take about three times that."""

COLUMNS = ("verdict", "answer_start", "answer_end", "n_forwards", "seconds", "answer_token_id")
TOP_K = ("topk_id", "topk_logit", "logsumexp")


class Trajectories(NamedTuple):
    """What one pass over the run yields; rows in the run's order.

    `metrics`: name -> [problem, step] float64. `columns`: name -> [problem] or [problem,
    answer_token]. `cka_matrix`: mean over problems [step, other_step]. `mismatched_masks`: problems
    where the recorded `n_masked` contradicts the recorded commits. `performed` [problem, step]: a
    forward pass ran. `failures`: metrics of others
    that could not be computed, all NaN, and why in a sentence. `incomplete`: metrics that need
    positions which the run did not record. `groups`: which rows are samples of one problem.
    `of_blocks`: the run is decoded block by block, each problem at a block of its own.
    """

    metrics: dict[str, np.ndarray]
    columns: dict[str, np.ndarray]
    cka_matrix: Mean
    mismatched_masks: int
    performed: np.ndarray
    failures: dict[str, str]
    incomplete: frozenset[str]
    groups: Groups
    of_blocks: bool = False

    @property
    def ends_differ(self) -> bool:
        """Whether some problem ended before others, so that fewer run at later steps."""
        ends = end_step(self.performed)
        return bool(len(ends) and (ends != ends[0]).any())

    def grows(self, name: str) -> bool:
        """Whether problems get their first value of a metric at different steps, as of an answer
        whose block is opened at a step of each problem's own."""
        has_value = np.isfinite(self.metrics[name])
        first = has_value[has_value.any(axis=1)].argmax(axis=1)
        return self.of_blocks and bool(len(first) and (first != first[0]).any())

    def recorded(self, name: str) -> np.ndarray:
        """[problem, step] of a metric, all NaN where the run did not record the positions that it
        needs."""
        values = self.metrics[name]
        return np.full_like(values, np.nan) if name in self.incomplete else values


def read_trajectories(
    run: Run, metrics: Metrics | None = None, *, answer_position: int | None = None
) -> Trajectories:
    """Stream `run` once and reduce it. Raises KeyError if the run lacks a variable that a metric of
    ours needs.

    `metrics`: those of the table unless given. `answer_position`: look for the gold answer at this
    generated position in every problem (a fixed slot, as when the prompt fixes where the answer is
    written) instead of where each problem's answer was found.
    """
    metrics = load_metrics() if metrics is None else metrics
    if keeps_answers_alone(run):
        return _without_steps(run, metrics)
    values = _MetricValues(run, metrics)
    columns = _Columns(run)
    steps = steps_of(run)
    groups = Groups.of(run.groups)
    matrix = _MatrixMean(steps, groups)
    digits = digit_ids(Path(run.path))

    if run.ids:
        names = _needed(run, metrics)
        for part in run.blocks(names, max_problems=_block_problems(run)):
            rows = np.asarray(part["row"])
            if answer_position is not None:
                part = _with_fixed_slot(part, answer_position)
            block = read_block(part, digits)
            columns.add(rows, block)
            matrix.add(rows, block.variable("cka").astype(np.float64))
            values.add(rows, block)

    values.cut_behind_the_last()
    incomplete = []
    for name, metric in metrics.by_name.items():
        if positions_missing(run, metric):
            incomplete.append(name)
    return Trajectories(
        values.by_name,
        columns.by_name,
        matrix.result(),
        columns.mismatched_masks,
        values.performed,
        values.failures,
        frozenset(incomplete),
        groups,
        of_blocks=is_of_blocks(run),
    )


def keeps_answers_alone(run: Run) -> bool:
    """Whether the run kept no trajectory, only how each decoding ended (`--record answers`)."""
    return bool(run.info["config"].get("record") == "answers")


def _without_steps(run: Run, metrics: Metrics) -> Trajectories:
    """What a run that keeps answers alone yields: the columns of its problems, and no value at any
    step."""
    shape = (len(run.ids), steps_of(run))
    nothing = np.broadcast_to(np.nan, shape)
    columns = _Columns(run).by_name
    for name in columns:
        columns[name] = np.full(shape[0], -1, np.int32)
    if run.ids:
        for name in COLUMNS:
            columns[name] = np.asarray(run[name][...])
        columns["gold_length"] = (columns["answer_token_id"] >= 0).sum(axis=1)
    for name in ("hits_lost", "guess_changes", "commit_order", "commit_order_in_block"):
        columns[name] = np.full(shape[0], np.nan)
    columns["ordered_pairs"] = np.full(shape[0], np.nan)
    matrix = MeanOverBlocks((shape[1], shape[1])).result()
    return Trajectories(
        dict.fromkeys(metrics.by_name, nothing),
        columns,
        matrix,
        mismatched_masks=0,
        performed=np.zeros(shape, bool),
        failures={},
        incomplete=frozenset(),
        groups=Groups.of(run.groups),
    )


def block_length_of(run: Run) -> int:
    """Positions of a block; 0 where the run's policy has no blocks."""
    return int(run.info["config"].get("block_length") or 0)


def is_of_blocks(run: Run) -> bool:
    """Whether the run is decoded block by block, so that some pass leaves positions out."""
    if "open_start" not in run:
        return False
    start = np.asarray(run["open_start"][...])
    end = np.asarray(run["open_end"][...])
    leaves_out = (start > 0) | (end < int(run.info["config"]["gen_length"]))
    return bool((leaves_out & (start >= 0)).any())


def steps_of(run: Run) -> int:
    """Number of steps of the run, from its configuration while no problem is stored."""
    if run.ids and not keeps_answers_alone(run):
        return _length(run, "performed", 1)
    return int(run.info["config"]["steps"])


def unrecorded(run: Run, metric: Metric) -> str:
    """The optional variables that `metric` needs and this run did not store, with commas
    between."""
    lacking = [name for name in metric.variables if VARIABLES[name].optional and name not in run]
    return ", ".join(lacking)


def positions_missing(run: Run, metric: Metric) -> bool:
    """Whether `metric` needs positions that this run did not record."""
    return metric.every_position and run.info["config"].get("record", "all") != "all"


class _MatrixMean:
    """The mean over problems of matrices [step, step], which come in blocks of rows."""

    def __init__(self, steps: int, groups: Groups) -> None:
        shape = (steps, steps)
        self._of_rows = MeanOverBlocks(shape) if groups.is_plain else None
        self._of_groups = MeanOverGroups(shape, groups)

    def add(self, rows: np.ndarray, matrices: np.ndarray) -> None:
        """Merge the matrices of these `rows` of the run."""
        if self._of_rows is not None:
            self._of_rows.add(matrices)
        else:
            self._of_groups.add(matrices, rows)

    def result(self) -> Mean:
        return self._of_groups.result() if self._of_rows is None else self._of_rows.result()


class _MetricValues:
    """Every metric [problem, step] as the blocks come, NaN where there is no value; and which steps
    were performed."""

    def __init__(self, run: Run, metrics: Metrics) -> None:
        shape = (len(run.ids), steps_of(run))
        self.by_name = {name: np.full(shape, np.nan) for name in metrics.by_name}
        self.performed = np.zeros(shape, bool)
        self.failures: dict[str, str] = {}
        self._plugins = metrics.plugins
        self._computed: dict[str, Metric] = {}
        for name, metric in metrics.by_name.items():
            if not unrecorded(run, metric):
                self._computed[name] = metric

    def add(self, rows: np.ndarray, block: Block) -> None:
        """Reduce one block, whose problems are the `rows` of the run; ours come first, so that no
        stranger's change to an array reaches them."""
        self.performed[rows] = block.performed
        for name, metric in self._computed.items():
            if name not in self._plugins:
                self._put(name, rows, block, metric.function(block))
        for name, row in self._plugins.items():
            if name in self._computed and name not in self.failures:
                self._add_of_plugin(rows, block, row)

    def _add_of_plugin(self, rows: np.ndarray, block: Block, row: Row) -> None:
        metric = self._computed[row.name]
        fault = ""
        try:
            values = metric.function(block)
        except Exception as error:  # a stranger's function may raise anything
            fault = f"raised {in_short(error)}"
        else:
            fault = _fault_of(values, block.performed.shape, metric)
        if fault:
            self.failures[row.name] = f"{whose(row)} {fault}"
            self.by_name[row.name][:] = np.nan
            return
        self._put(row.name, rows, block, np.asarray(values))

    def _put(self, name: str, rows: np.ndarray, block: Block, values: np.ndarray) -> None:
        if self._computed[name].kept:
            values = kept_after_end(values, block.performed)
        self.by_name[name][rows] = values

    def cut_behind_the_last(self) -> None:
        """No values behind the last step that any problem performed: the run has no such step."""
        reached = int(end_step(self.performed).max(initial=-1)) + 1
        for values in self.by_name.values():
            values[:, reached:] = np.nan


def _fault_of(values: object, shape: tuple[int, ...], metric: Metric) -> str:
    """What is wrong with what a metric returned, or nothing."""
    expected = f"expected floats of shape {list(shape)}"
    if not isinstance(values, np.ndarray):
        return f"returned {type(values).__name__}, {expected}"
    if values.shape != shape:
        return f"returned an array of shape {list(values.shape)}, {expected}"
    if values.dtype.kind != "f":
        return f"returned {values.dtype}, {expected}, NaN where there is no value"
    finite = values[np.isfinite(values)]
    if metric.share and not np.isin(finite, (0.0, 1.0)).all():
        return "is declared a share and returned values other than 0 and 1"
    return ""


class _Columns:
    """What is kept of each problem beside the metrics, as the blocks come."""

    def __init__(self, run: Run) -> None:
        names = (*COLUMNS, "gold_length", "slot_status", *Ends._fields, *Events._fields)
        self.by_name = {name: np.zeros(0, np.int32) for name in names}
        self.by_name["answer_token_id"] = np.zeros((0, 0), np.int32)
        self.mismatched_masks = 0
        self._problems = len(run.ids)
        self._block_length = block_length_of(run)
        self._begun = False

    def add(self, rows: np.ndarray, block: Block) -> None:
        """Keep the columns of one block, whose problems are the `rows` of the run."""
        columns = self._columns(block)
        if not self._begun:
            self._begun = True
            self._allocate(columns)
        for name, column in columns.items():
            self.by_name[name][rows] = column
        self.mismatched_masks += _mismatched_masks(block)

    def _allocate(self, columns: Mapping[str, np.ndarray]) -> None:
        """Room for all problems of the run, in the order of these `columns` of one block."""
        self.by_name = {}
        for name, column in columns.items():
            shape = (self._problems, *column.shape[1:])
            self.by_name[name] = np.empty(shape, column.dtype)

    def _columns(self, block: Block) -> dict[str, np.ndarray]:
        columns = {name: block.variable(name) for name in COLUMNS}
        columns["gold_length"] = block.gold_length
        columns["slot_status"] = block.slot_status
        happened = events(block, block_length=self._block_length)
        return columns | ends(block)._asdict() | happened._asdict()


def _mismatched_masks(block: Block) -> int:
    """Problems where the masks counted by the decoder are not those of the commits."""
    counted = block.masked.sum(axis=2)
    differs = counted != block.variable("n_masked")
    is_mismatched = (differs & block.performed).any(axis=1)
    return int(is_mismatched.sum())


def _needed(run: Run, metrics: Metrics) -> list[str]:
    """The variables that the pass reads."""
    names = ["performed", "committed", "n_masked", "cka", *also(run), *COLUMNS]
    for metric in metrics.by_name.values():
        if not unrecorded(run, metric):
            names += metric.variables
    if all(name in run for name in TOP_K):
        names += TOP_K
    return list(dict.fromkeys(names))


def _with_fixed_slot(part: Mapping[str, np.ndarray], start: int) -> dict[str, np.ndarray]:
    """The block with the answer slot at `start` in every problem that has a gold answer, as long as
    that."""
    is_token = np.asarray(part["answer_token_id"]) >= 0
    length = is_token.sum(axis=1)
    has_gold = length > 0
    first = np.where(has_gold, start, -1)
    end = np.where(has_gold, start + length, -1)
    return {
        **part,
        "answer_start": first.astype(np.int32),
        "answer_end": end.astype(np.int32),
    }


def _block_problems(run: Run) -> int:
    """How many problems fit a block: the largest variables are [step, position, answer_token or k],
    [step, step]."""
    steps = _length(run, "committed", 1)
    positions = _length(run, "committed", 2)
    tokens = _length(run, "answer_token_id", 1)
    if "topk_id" in run:
        tokens += 2 * _length(run, "topk_id", 3)
    per_problem = 4 * steps * (positions * (tokens + 3) + steps)
    problems = BLOCK_BYTES // max(per_problem, 1)
    return int(np.clip(problems, 1, 64))


def _length(run: Run, variable: str, axis: int) -> int:
    return int(run[variable].shape[axis])
