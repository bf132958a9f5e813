"""The writer: a thread that turns finished problems into shards, so that the thread with the model
never touches HDF5.

The queue is bounded: when the disk is slower than the model, the model waits. A full disk is waited
for a while, then reported once; what was published stays.
"""

from __future__ import annotations

import errno
import logging
import queue
import threading
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from ..store import StorageError, write_shard
from ..store.write.hidden_sums import GroupSum
from .token_table import TokenTable

logger = logging.getLogger(__name__)

BACK_OFF_SECONDS = (2.0, 8.0, 20.0)
QUEUED_SHARDS = 2


class ShardWriter:
    """Publishes shards in the background; `close` waits for the last. The thread's errors reach the
    caller."""

    def __init__(
        self,
        out: Path,
        *,
        attrs: Mapping[str, str | int | float],
        token_text: Callable[[int], str],
        worker: str = "0",
        before_each: Callable[[], None] = lambda: None,
    ) -> None:
        """`before_each` is called right before a shard is written; whoever may no longer write does
        not return."""
        self._before_each = before_each
        self._out = out
        self._attrs = attrs
        self._worker = worker
        self._sums = GroupSum(out, attrs, worker)
        # Two workers never write one file; `settle_tokens` brings their tables together.
        name = "tokens.json" if worker == "0" else f"tokens-{worker}.json"
        self._tokens = TokenTable(out / name, token_text, run_id=str(attrs["run_id"]))
        self.seconds = 0.0
        """Spent on compressing and writing, beside the decoding, so far."""
        self._published: list[tuple[str, int]] = []
        self._queue: queue.Queue[dict[str, Any] | None] = queue.Queue(QUEUED_SHARDS)
        self._error: BaseException | None = None
        self._thread = threading.Thread(target=self._work, name="shard-writer", daemon=True)
        self._thread.start()

    def put(self, columns: dict[str, Any]) -> None:
        """Hand over one shard's columns; blocks while the queue is full, raises what went wrong in
        the thread."""
        while True:
            self._raise_error()
            try:
                return self._queue.put(columns, timeout=0.5)
            except queue.Full:
                continue

    def close(self) -> None:
        """Publish what is queued and stop; raises what went wrong in the thread."""
        while self._thread.is_alive():
            try:
                self._queue.put(None, timeout=0.5)
                break
            except queue.Full:
                continue
        self._thread.join()
        self._raise_error()

    def drain(self) -> None:
        """Wait until everything handed over is published; raises what went wrong in the thread."""
        while self._queue.unfinished_tasks and self._error is None:
            time.sleep(0.01)
        self._raise_error()

    def take_published(self) -> list[tuple[str, int]]:
        """Ids and verdicts of the problems published since the last call."""
        taken = self._published[:]
        del self._published[: len(taken)]
        return taken

    def _raise_error(self) -> None:
        if self._error is not None:
            raise self._error

    def _work(self) -> None:
        try:
            while (columns := self._queue.get()) is not None:
                started = time.perf_counter()
                self._tokens.add(columns)
                self._publish(columns)
                self.seconds += time.perf_counter() - started
                self._published += zip(
                    columns["problem_id"], np.asarray(columns["verdict"]).tolist(), strict=True
                )
                self._queue.task_done()
        except BaseException as error:  # handed to the thread that waits for it
            self._error = error

    def _publish(self, columns: dict[str, Any]) -> None:
        hidden_sum = columns.pop("hidden_sum", None)
        for wait in (*BACK_OFF_SECONDS, None):
            self._before_each()
            try:
                self._tokens.save()
                write_shard(
                    self._out,
                    columns,
                    attrs=self._attrs,
                    worker=self._worker,
                    sums=self._sums,
                    hidden_sum=hidden_sum,
                )
                return
            except StorageError as error:
                if wait is None or error.errno not in (errno.ENOSPC, errno.EDQUOT):
                    raise
                logger.warning("%s; trying again in %g s", error, wait)
                time.sleep(wait)
