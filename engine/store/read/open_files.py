"""A bounded number of open shards, the least recently used closed first. Safe to use from several
threads."""

from __future__ import annotations

import contextlib
import threading
from collections import OrderedDict
from collections.abc import Iterator
from pathlib import Path

import h5py

from ..errors import DamagedRun


class OpenFiles:
    """Opens files by number and keeps at most `limit` open. One thread reads at a time: HDF5 allows
    no more anyway."""

    def __init__(self, paths: list[Path], *, limit: int = 32) -> None:
        self._paths = paths
        self._limit = limit
        self._files: OrderedDict[int, h5py.File] = OrderedDict()
        self._lock = threading.RLock()

    @contextlib.contextmanager
    def open(self, number: int) -> Iterator[h5py.File]:
        """The open file; it stays open until the context ends. DamagedRun if it cannot be opened or
        read."""
        with self._lock:
            try:
                yield self._get(number)
            except OSError as error:
                self._drop(number)
                raise DamagedRun(
                    f"shard {self._paths[number]} cannot be read: {error}; `diffengine verify` "
                    "says what is damaged"
                ) from error

    def close(self) -> None:
        """Close all files; they open again when asked for."""
        with self._lock:
            for number in list(self._files):
                self._drop(number)

    def _get(self, number: int) -> h5py.File:
        if number not in self._files:
            self._files[number] = h5py.File(self._paths[number], "r")
            while len(self._files) > self._limit:
                self._drop(next(iter(self._files)))
        self._files.move_to_end(number)
        return self._files[number]

    def _drop(self, number: int) -> None:
        file = self._files.pop(number, None)
        if file is not None:
            file.close()
