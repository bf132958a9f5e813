"""Finished problems gather here until they make a shard: enough of them, or the first has waited
long enough, so that what is finished is on the disk within about a minute at any shape.

The sum of their hidden states goes with them; the writer keeps it in a file of its own.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from ..config import RunConfig
from ..decoding.recorder import Finished
from ..store.format.schema import VARIABLES, missing
from .execution import Limits


class Gathering:
    """Takes finished problems and hands the columns of whole shards to `put`."""

    def __init__(
        self, put: Callable[[dict[str, Any]], None], limits: Limits, *, blocks: Sequence[int]
    ) -> None:
        """`blocks`: the block that each step works on, as the policy says."""
        self._put = put
        self._limits = limits
        self._blocks = np.array(blocks, np.int32)
        self._pending: list[Finished] = []
        self._size = 0
        self._since = time.monotonic()
        self._sum: np.ndarray | None = None

    def add(self, finished: Finished, take_sum: Callable[[], np.ndarray | None]) -> None:
        """One more problem; publishes when they make a shard. `take_sum` gives the sum since it was
        last called."""
        if not self._pending:
            self._since = time.monotonic()
        self._pending.append(finished)
        arrays = [v for v in finished.columns.values() if isinstance(v, np.ndarray)]
        self._size += sum(array.nbytes for array in arrays)
        self.publish_if_due(take_sum)

    def publish_if_due(self, take_sum: Callable[[], np.ndarray | None]) -> None:
        """Publish what is pending if that is a full shard or old. Asked between steps too: the next
        may finish late."""
        if not self._pending:
            return
        age = time.monotonic() - self._since
        if self._limits.reached(problems=len(self._pending), size=self._size, age=age):
            self.add_sum(take_sum())
            self.flush()

    def add_sum(self, part: np.ndarray | None) -> None:
        """The hidden states of pending problems, summed [S, G, D] by whoever decoded them."""
        if part is not None:
            self._sum = part if self._sum is None else self._sum + part

    def flush(self) -> None:
        """Publish what is pending, whatever its size."""
        pending = self._pending
        hidden_sum = self._sum
        self._pending = []
        self._size = 0
        self._sum = None
        for finished in pending:
            finished.ready()
        if pending:
            self._put(self._shard_columns(pending, hidden_sum))

    def _shard_columns(
        self, pending: list[Finished], hidden_sum: np.ndarray | None
    ) -> dict[str, Any]:
        columns = _stacked(_answers_padded([finished.columns for finished in pending]))
        columns["block"] = self._blocks
        if hidden_sum is not None:
            columns["hidden_sum"] = hidden_sum
        return columns


def sum_bytes(config: RunConfig, width: int) -> int:
    """Bytes of the sum of hidden states in every shard; 0 where none is kept."""
    return config.steps * config.gen_length * width * 4 if config.mean_hidden else 0


def _answers_padded(columns: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Problems of different batches may have room for different numbers of answer tokens; the most
    decides."""
    longest = max(len(c["answer_token_id"]) for c in columns)
    if all(len(c["answer_token_id"]) == longest for c in columns):
        return columns
    names = [name for name in columns[0] if "answer_token" in VARIABLES[name].dims]
    return [c | {name: _padded(c[name], longest) for name in names} for c in columns]


def _padded(array: np.ndarray, length: int) -> np.ndarray:
    widths = [(0, 0)] * (array.ndim - 1) + [(0, length - array.shape[-1])]
    return np.pad(array, widths, constant_values=missing(array.dtype))


def _stacked(finished: list[dict[str, Any]]) -> dict[str, Any]:
    """One column for each variable: a list of texts, or an array with a problem dimension."""
    columns: dict[str, Any] = {}
    for name in finished[0]:
        values = [problem[name] for problem in finished]
        is_text = VARIABLES[name].dtype == "str"
        columns[name] = values if is_text else np.stack(values)
    return columns
