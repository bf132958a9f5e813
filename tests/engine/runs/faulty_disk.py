"""A disk that refuses: the n-th call that changes a directory fails, once or from then on, with an
errno of choice.

For `test_nth_write.py`. Covered are os.open for writing, open() for writing and what is written
through it, os.write, pwrite, fsync, ftruncate, truncate, rename, replace, link, unlink and mkdir,
on paths under one directory. The engine writes by nothing else (HDF5 itself never writes a file,
which `test_nth_write.py` shows).
"""

from __future__ import annotations

import builtins
import io
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

_WRITING = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_APPEND
_BY_PATH = ("rename", "replace", "link", "unlink", "remove", "mkdir", "truncate")
_BY_DESCRIPTOR = ("write", "pwrite", "fsync", "ftruncate")


class FaultyDisk:
    """Counts the calls that change something under `directory`, and lets chosen ones fail."""

    def __init__(self, directory: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self._root = os.path.realpath(directory)
        self._nth, self._errno, self._persistent = 0, 0, False
        self.calls: list[str] = []
        for name in _BY_PATH:
            monkeypatch.setattr(os, name, self._by_path(getattr(os, name), name))
        for name in _BY_DESCRIPTOR:
            monkeypatch.setattr(os, name, self._by_descriptor(getattr(os, name), name))
        self._os_open, self._open = os.open, io.open
        monkeypatch.setattr(os, "open", self._faulty_os_open)
        monkeypatch.setattr(io, "open", self._faulty_open)
        monkeypatch.setattr(builtins, "open", self._faulty_open)

    def fail(self, nth: int, errno: int, *, persistent: bool) -> None:
        """From now on the `nth` call (from 1; 0 for none) fails, or it and all after it."""
        self._nth, self._errno, self._persistent = nth, errno, persistent
        self.calls = []

    @property
    def met(self) -> bool:
        """Whether the fault was reached."""
        return 0 < self._nth <= len(self.calls)

    def touch(self, name: str, path: object) -> None:
        """One call; raises the fault if its turn has come."""
        self.calls.append(f"{name} {path}")
        number = len(self.calls)
        if self._nth and (number == self._nth or (self._persistent and number > self._nth)):
            raise OSError(self._errno, os.strerror(self._errno), str(path))

    def is_inside(self, path: Any) -> bool:
        """Whether a path, or what a descriptor is open on, lies under the directory."""
        try:
            place = (
                os.readlink(f"/proc/self/fd/{path}")
                if isinstance(path, int)
                else os.path.abspath(os.fspath(path))
            )
        except (OSError, TypeError, ValueError):
            return False
        return os.path.join(os.path.realpath(os.path.dirname(place)), "").startswith(self._root)

    def _by_path(self, call: Callable[..., Any], name: str) -> Callable[..., Any]:
        def faulty(path: Any, *rest: Any, **options: Any) -> Any:
            if self.is_inside(path):
                self.touch(name, path)
            return call(path, *rest, **options)

        return faulty

    def _by_descriptor(self, call: Callable[..., Any], name: str) -> Callable[..., Any]:
        def faulty(descriptor: int, *rest: Any) -> Any:
            if self.is_inside(descriptor):
                self.touch(name, os.readlink(f"/proc/self/fd/{descriptor}"))
            return call(descriptor, *rest)

        return faulty

    def _faulty_os_open(self, path: Any, flags: int, *rest: Any, **options: Any) -> int:
        if flags & _WRITING or flags & os.O_DIRECTORY:
            if self.is_inside(path):
                self.touch("os.open", path)
        return self._os_open(path, flags, *rest, **options)

    def _faulty_open(
        self, file: Any, mode: str = "r", buffering: int = -1, *rest: Any, **options: Any
    ) -> Any:
        """Files for writing go through a raw file whose every write may fail, as on a disk that
        fills up."""
        if set(mode).isdisjoint("wax+") or not self.is_inside(file):
            return self._open(file, mode, buffering, *rest, **options)
        self.touch("open", file)
        disk = self

        class Raw(io.FileIO):
            interrupted = False

            def write(self, data: Any) -> Any:
                try:
                    disk.touch("write", self.name)
                except InterruptedError:
                    # The buffer above asks again until it is through (PEP 475), for ever if never.
                    self.interrupted = not self.interrupted
                    if self.interrupted:
                        raise
                return super().write(data)

        raw = Raw(file, mode.replace("b", "").replace("t", ""))
        if buffering == 0:
            return raw
        buffered = io.BufferedRandom(raw) if "+" in mode else io.BufferedWriter(raw)
        if "b" in mode:
            return buffered
        text = dict(zip(("encoding", "errors", "newline"), rest, strict=False)) | options
        known = {key: text[key] for key in ("encoding", "errors", "newline") if key in text}
        return io.TextIOWrapper(buffered, **known)
