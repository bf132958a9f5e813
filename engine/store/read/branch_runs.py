"""Where in its run directory a run keeps those of its branches: RUN/branches/, a directory each."""

from __future__ import annotations

from pathlib import Path

FOLDER = "branches"


def branch_folders(run_dir: Path) -> list[Path]:
    """The directories of the branch runs of a run, by name: all that have a run.json, or shards
    that once had one."""
    parent = run_dir / FOLDER
    if not parent.is_dir():
        return []
    return sorted(folder for folder in parent.iterdir() if _is_branch_run(folder))


def _is_branch_run(folder: Path) -> bool:
    return (folder / "run.json").is_file() or any((folder / "shards").glob("*.h5"))
