"""Lazy tables from a name to the object that carries it: `"llada": "diffengine.engine.policies.llada:LLaDAPolicy"`.

Adding a thing is one file and one row; nothing is imported until the row is asked for. Knows nothing of the things.
"""

from __future__ import annotations

import difflib
import importlib
from collections.abc import Iterator, Mapping
from typing import Any


class UnknownNameError(KeyError):
    """A name that is not in the table; the message lists the names and the nearest one."""

    def __str__(self) -> str:
        return str(self.args[0])


class Registry(Mapping[str, str]):
    """A read-only table of `name -> "module:attribute"` for one kind of thing."""

    def __init__(self, kind: str, rows: Mapping[str, str]) -> None:
        self.kind, self._rows = kind, dict(rows)

    def __getitem__(self, name: str) -> str:
        if name not in self._rows:
            near = difflib.get_close_matches(name, self._rows, n=1)
            hint = f" Did you mean {near[0]!r}?" if near else ""
            raise UnknownNameError(f"no {self.kind} is called {name!r}; there are: {', '.join(self._rows)}.{hint}")
        return self._rows[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._rows)

    def __len__(self) -> int:
        return len(self._rows)

    def load(self, name: str) -> Any:
        """Import and return what `name` stands for; raises UnknownNameError."""
        module, _, attribute = self[name].partition(":")
        return getattr(importlib.import_module(module), attribute)
