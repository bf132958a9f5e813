"""A record of a problem file, and which of its keys have been read into a field."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from .values import as_column

NORMAL_FORM = frozenset({"id", "question", "answer", "messages", "solution", "source", "line"})
"""The keys of a run's problems.jsonl."""


class Record(Mapping[str, Any]):
    """The values by their keys. What nobody has read in the end is a column of the problem."""

    def __init__(self, values: Mapping[object, Any]) -> None:
        self._values = {str(key): value for key, value in values.items()}
        self.is_normal_form = set(self._values) >= NORMAL_FORM
        self._keys_read = set(NORMAL_FORM) if self.is_normal_form else set()

    def __getitem__(self, key: str) -> Any:
        return self._values[key]

    def __iter__(self) -> Iterator[str]:
        return iter(self._values)

    def __len__(self) -> int:
        return len(self._values)

    def read(self, key: str) -> Any:
        """The value of `key`, which is thereby no column."""
        self._keys_read.add(key)
        return self._values[key]

    def mark_read(self, key: str) -> None:
        """Note that `key`, where the record has it, is no column."""
        self._keys_read.add(key)

    def keep_as_column(self, key: str) -> None:
        """Note that `key` says more than the field that was read from it."""
        self._keys_read.discard(key)

    def first_key(self, keys: Iterable[str]) -> str | None:
        """The first of `keys` whose value is not null."""
        for key in keys:
            if self._values.get(key) is not None:
                return key
        return None

    def columns(self) -> dict[str, Any]:
        """What nobody has read: subject, level, type, ...; in a run's problems.jsonl columns are
        apart already."""
        columns = {}
        for key, value in self._values.items():
            if key not in self._keys_read and value is not None:
                columns[key] = as_column(value)
        if self.is_normal_form and isinstance(columns.get("columns"), dict):
            columns |= columns.pop("columns")
        return columns
