"""What a user can mend about an analysis; the message says what, got, expected, do this."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

from ..engine.registry import Registry, nearest


class SettingError(ValueError):
    """An analysis was asked for with a setting that cannot be."""


def check_named(kind: str, names: Collection[str], name: str) -> None:
    """Raises SettingError unless `name` is one of the `names`; the message lists them and the
    nearest one. `kind`: "spike rule" and the like."""
    if name not in names:
        raise SettingError(
            f"no {kind} is called {name!r}; there are: {', '.join(names)}.{nearest(name, names)}"
        )


def load_named(table: Registry, name: str) -> Any:
    """What `name` stands for in `table`. Raises SettingError as `check_named` does."""
    check_named(table.kind, table, name)
    return table.load(name)
