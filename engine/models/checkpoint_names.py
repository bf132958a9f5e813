"""What a checkpoint calls itself, where its files do not say otherwise what it is."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

LONGEST_HEADING = 200


def names_of(directory: Path, config: Mapping[str, Any]) -> dict[str, str]:
    """The names of the checkpoint in `directory`, each by the words that say where it stands: its
    directory's, the one that config.json kept, and the heading of its README.md."""
    called = directory.resolve().name
    kept = str(config.get("_name_or_path", ""))
    heading = _heading(directory)
    return {
        f"the directory is called {called}": called,
        f"config.json: _name_or_path is {kept!r}": kept,
        f"README.md is headed {heading!r}": heading,
    }


def _heading(directory: Path) -> str:
    """The first heading of README.md, or nothing."""
    try:
        with (directory / "README.md").open(encoding="utf-8", errors="replace") as lines:
            for line in lines:
                if line.startswith("# "):
                    return line.removeprefix("# ").strip()[:LONGEST_HEADING]
    except OSError:
        pass
    return ""
