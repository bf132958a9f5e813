"""The errors of the store. Each says what, where, what was expected and what to do; nothing else
lives here."""

from __future__ import annotations


class StorageError(OSError):
    """The file system refused (full disk, quota, I/O error). `errno` and `filename` are those of
    the cause."""

    def __init__(self, message: str, *, errno: int | None = None, filename: str = "") -> None:
        super().__init__(errno, message, filename)
        self.message = message

    def __str__(self) -> str:
        return self.message


class ColumnsError(ValueError):
    """The columns handed to `write_shard` do not fit the schema."""


class NotARun(FileNotFoundError):
    """The directory is not a run, or a file that every run has is not there."""


class NotStored(KeyError):
    """The run is sound but does not keep what was asked for."""

    def __str__(self) -> str:
        return str(self.args[0])


class DamagedRun(RuntimeError):
    """A run whose files contradict each other: a shard missing, cut short, unreadable or of another
    run."""


class RunLocked(RuntimeError):
    """Another process works in this run directory."""
