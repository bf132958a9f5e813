"""What a checkpoint is called, where its config.json does not say which kind of its architecture it
is."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

MOST_OF_A_HEADING = 200
"""Characters."""


def names_of(directory: Path, config: Mapping[str, Any]) -> dict[str, str]:
    """A checkpoint's names by the words that say where each stands, the nearest first: that of its
    directory, that which its config.json kept, that in the heading of its README.md."""
    folder = directory.resolve().name
    kept = str(config.get("_name_or_path") or "")
    heading = _heading(directory)
    return {
        f"the directory is called {folder}": folder,
        f"config.json: _name_or_path is {kept!r}": kept,
        f"README.md is headed {heading!r}": heading,
    }


def _heading(directory: Path) -> str:
    """The first heading of README.md, or nothing."""
    try:
        with (directory / "README.md").open(encoding="utf-8", errors="replace") as lines:
            for line in lines:
                if line.startswith("# "):
                    return line.removeprefix("# ").strip()[:MOST_OF_A_HEADING]
    except OSError:
        pass
    return ""
