"""Finished problems gather here until they are worth a shard: when one is full, or old, and not mostly overhead.

A shard also holds the sum of its problems' hidden states, which is as large for one problem as for a thousand; at
LLaDA-8B's shape 268 MB. So a shard waits until its problems outweigh their sum, or have waited ten times as long.
Knows columns and sizes, not files.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

from .config import RunConfig
from .record import Finished
from .store.schema import VARIABLES

SUM_RATIO = 4
"""How many times the bytes of the sum a shard's problems should have."""
PATIENCE = 10
"""How many times as long a shard may wait for that."""


class Limits(NamedTuple):
    """When a shard is full or old: problems, bytes before compression, seconds.

    `exact`: so many problems make a shard, however large the sum beside them.
    """

    problems: int
    bytes: int
    seconds: float
    exact: bool = False

    def reached(self, *, problems: int, size: int, age: float) -> bool:
        """Whether `problems` problems of `size` bytes that began to gather `age` seconds ago fill a shard."""
        return problems >= self.problems or size >= self.bytes or age > self.seconds

    def problems_per_shard(self, *, problem_bytes: float, sum_bytes: int) -> float:
        """How many problems a shard gets where they come fast enough never to be old."""
        full = max(1.0, min(float(self.problems), self.bytes / problem_bytes))
        return full if self.exact else max(full, SUM_RATIO * sum_bytes / problem_bytes)

    def longest_wait(self, *, problem_bytes: float, sum_bytes: int) -> float:
        """Seconds after which a shard is written however few its problems; an estimate needs it for slow runs."""
        is_light = self.exact or self.problems * problem_bytes >= SUM_RATIO * sum_bytes
        return self.seconds if is_light else PATIENCE * self.seconds


class Gathering:
    """Takes finished problems and hands the columns of whole shards to `put`."""

    def __init__(self, put: Callable[[dict[str, Any]], None], config: RunConfig, limits: Limits) -> None:
        self._put, self._config, self._limits = put, config, limits
        self._pending: list[Finished] = []
        self._size, self._since = 0, time.monotonic()
        self._sum: np.ndarray | None = None

    def add(self, one: Finished, take_sum: Callable[[], np.ndarray | None]) -> None:
        """One more problem; publishes when they make a shard. `take_sum` gives the sum since it was last called."""
        if not self._pending:
            self._since = time.monotonic()
        self._pending.append(one)
        self._size += sum(v.nbytes for v in one.columns.values() if isinstance(v, np.ndarray))
        if self._limits.reached(problems=len(self._pending), size=self._size, age=self._age) and self.is_worth_it:
            self.add_sum(take_sum())
            self.flush()

    @property
    def is_worth_it(self) -> bool:
        """Whether what is pending outweighs its sum, or has waited too long for that."""
        if not self._pending or self._limits.exact:
            return bool(self._pending)
        summed = sum_bytes(self._config, self._pending[0].columns["state_masked"].shape[-1])
        return self._size >= SUM_RATIO * summed or self._age > PATIENCE * self._limits.seconds

    @property
    def _age(self) -> float:
        return time.monotonic() - self._since

    def add_sum(self, part: np.ndarray | None) -> None:
        """The hidden states of pending problems, summed [S, G, D] by whoever decoded them."""
        if part is not None:
            self._sum = part if self._sum is None else self._sum + part

    def flush(self) -> None:
        """Publish what is pending, whatever its size."""
        pending, taken = self._pending, self._sum
        self._pending, self._size, self._sum = [], 0, None
        for one in pending:
            one.ready()
        if pending:
            self._put(_shard_columns(pending, taken, self._config))


def sum_bytes(config: RunConfig, width: int) -> int:
    """Bytes of the sum of hidden states in every shard; 0 where none is kept."""
    return config.steps * config.gen_length * width * 4 if config.mean_hidden else 0


def _answers_padded(columns: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Problems of different batches may have room for different numbers of answer tokens; the most decides."""
    longest = max(len(c["answer_token_id"]) for c in columns)
    if all(len(c["answer_token_id"]) == longest for c in columns):
        return columns
    names = [name for name in columns[0] if "answer_token" in VARIABLES[name].dims]
    return [c | {name: _padded(c[name], longest) for name in names} for c in columns]


def _padded(array: np.ndarray, length: int) -> np.ndarray:
    value = np.nan if array.dtype.kind == "f" else -1
    widths = [(0, 0)] * (array.ndim - 1) + [(0, length - array.shape[-1])]
    return np.pad(array, widths, constant_values=value)


def _shard_columns(pending: list[Finished], hidden_sum: np.ndarray | None, config: RunConfig) -> dict[str, Any]:
    columns = _stacked(_answers_padded([f.columns for f in pending]))
    columns["block"] = (np.arange(config.steps) // config.steps_per_block).astype(np.int32)
    if hidden_sum is not None:
        columns["hidden_sum"] = hidden_sum
    return columns


def _stacked(finished: list[dict[str, Any]]) -> dict[str, Any]:
    return {
        name: [f[name] for f in finished] if VARIABLES[name].dtype == "str" else np.stack([f[name] for f in finished])
        for name in finished[0]
    }
