"""`verify_run` of a run and of every branch run inside it."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

from ..errors import DamagedRun, NotARun, RunLocked
from ..read.branch_runs import branch_folders
from .verify import VerifyReport, verify_run


class Verified(NamedTuple):
    """One run that was looked at: its `report`, or the `fault` for which there is none."""

    path: Path
    report: VerifyReport | None
    fault: str = ""

    @property
    def ok(self) -> bool:
        """True if nothing is damaged; the run may still be unfinished."""
        return self.report is not None and self.report.ok


def verify_with_branches(
    path: str | Path, *, quick: bool = False, repair: bool = False
) -> list[Verified]:
    """The run at `path` first, then its branch runs by name. Raises as `verify_run` does for the
    run itself; a branch run that cannot be looked at is one with a fault."""
    run_dir = Path(path)
    verified = [Verified(run_dir, verify_run(run_dir, quick=quick, repair=repair))]
    for folder in branch_folders(run_dir):
        try:
            report = verify_run(folder, quick=quick, repair=repair)
        except (DamagedRun, NotARun, RunLocked) as error:
            verified.append(Verified(folder, None, str(error)))
        else:
            verified.append(Verified(folder, report))
    return verified
