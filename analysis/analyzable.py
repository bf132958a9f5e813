"""Which runs there is something to say of, and why not of the others."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from .errors import SettingError

if TYPE_CHECKING:
    from ..engine.store import Run

BRANCHES = "branches"
"""Key of run.json in a branch run."""

STEPS = "performed"
"""Kept by every run that keeps its steps."""


def refuse_branch_run(run: Run) -> None:
    """Refuse a branch run, which is read with the run that it branches from: its branches begin at
    many states, some of them changed, so no mean over all of them is of anything. Raises
    SettingError."""
    if BRANCHES in run.info:
        path = Path(run.path)
        raise SettingError(
            f"{path} is a branch run: its branches are continuations of another run's states; give "
            f"the run that they branch from, {path.resolve().parents[1]}, which reads them"
        )


def check_has_steps(run: Run) -> None:
    """Refuse a branch run, and a run that keeps nothing of its steps. Raises SettingError."""
    refuse_branch_run(run)
    if len(run) and STEPS not in run:
        raise SettingError(
            f"{run.path}: holds answers alone (record: answers), and no steps to look at; decode "
            "it again in a new directory with --record all"
        )
