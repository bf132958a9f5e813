"""The branch runs beside a run, and which of them continue its states by one and the same law.

Branches of another temperature, policy, model or number of draws are other draws: they are shown
apart and never pooled.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from ...engine.store import DamagedRun, NotARun, open_run
from ...engine.store.read.branch_runs import branch_folders

if TYPE_CHECKING:
    from ...engine.store import Run

NOTHING = 0
"""The intervention that is none, by its place in run.json."""
FRESH = "fresh"
"""Branches draw their own noise; with their parent's they would only repeat its suffix."""

_DECIDES_NOTHING = ("model", "record", "save_logits", "topk", "mean_hidden", "seed")
"""Settings of a branch run that leave the law of its continuations as it is; where the model lies
is one, which model it is has a fingerprint."""


class BranchRuns(NamedTuple):
    """The branch runs of one run that can be read, in the order of their names. `warnings`: those
    that cannot be, and why."""

    runs: list[Run]
    warnings: list[str]


@dataclass(frozen=True, eq=False)
class SameLaw:
    """Branch runs whose continuations are draws from the same law, `samples` of them a state."""

    runs: tuple[Run, ...]
    samples: int

    @property
    def config(self) -> Mapping[str, Any]:
        """The settings that they share."""
        config: Mapping[str, Any] = self.runs[0].info["config"]
        return config

    @property
    def temperature(self) -> float:
        """That of the continuations."""
        return float(self.config.get("temperature") or 0.0)

    @property
    def names(self) -> list[str]:
        """The folders that they lie in."""
        return [Path(run.path).name for run in self.runs]

    @property
    def at(self) -> list[int]:
        """The steps that were asked for, ascending."""
        return sorted({int(step) for run in self.runs for step in request_of(run)["at"]})

    def describe(self) -> str:
        """ "R = 16, temperature 1, policy llada"."""
        policy = self.config.get("policy", "not recorded")
        return f"R = {self.samples}, temperature {self.temperature:g}, policy {policy}"


def read_branch_runs(run: Run) -> BranchRuns:
    """Open all of them. One that is damaged, or of another run, is named in a warning."""
    runs = []
    warnings = []
    for folder in branch_folders(Path(run.path)):
        try:
            branch_run = open_run(folder)
            fault = _fault(branch_run, run)
            if not fault:
                _ = branch_run.problems  # raises where the file is damaged
        except (DamagedRun, NotARun) as error:
            fault = str(error)
        if fault:
            warnings.append(f"branch run {folder.name} is left out: {fault}")
        else:
            runs.append(branch_run)
    return BranchRuns(runs, warnings)


def by_law(runs: Sequence[Run]) -> list[SameLaw]:
    """The branch runs with fresh noise, those of one law together, in the order of the first of
    each."""
    groups: dict[str, list[Run]] = {}
    for run in runs:
        if request_of(run)["noise"] == FRESH:
            groups.setdefault(_law(run), []).append(run)
    return [SameLaw(tuple(group), samples_of(group[0])) for group in groups.values()]


def samples_of(branch_run: Run) -> int:
    """R: the largest number of branches that at least half of its states were asked for.

    Steps and branches of a state may have become more from command to command. Of a state with more
    than R the first R count, for they are as good a draw as any; one with fewer has no value.
    """
    asked = Counter(
        (origin.parent, origin.step)
        for origin in (problem.origin for problem in branch_run.problems)
        if origin is not None and origin.intervention == NOTHING
    )
    if not asked:
        return int(request_of(branch_run)["samples"])
    most_first = sorted(asked.values(), reverse=True)
    return most_first[(len(most_first) + 1) // 2 - 1]


def deciding(config: Mapping[str, Any]) -> dict[str, Any]:
    """The settings that decide the law by which a state is continued."""
    return {name: value for name, value in config.items() if name not in _DECIDES_NOTHING}


def request_of(branch_run: Run) -> Mapping[str, Any]:
    """What the branch run was asked for: `at`, `samples`, `noise`, `interventions`, `parent`."""
    request: Mapping[str, Any] = branch_run.info["branches"]
    return request


def _fault(branch_run: Run, parent: Run) -> str:
    """Why it is no branch run of the parent, or nothing."""
    request = branch_run.info.get("branches")
    if not isinstance(request, dict):
        return "its run.json has no `branches`, so it is an ordinary run; move it elsewhere"
    missing = [name for name in ("parent", "at", "samples", "noise") if name not in request]
    if missing:
        return f"its run.json lacks branches.{', branches.'.join(missing)}; branch again"
    run_id = request["parent"].get("run_id")
    if run_id != parent.info.get("run_id"):
        return f"it branches from the run {run_id}, not from this one; move it into that run"
    return ""


def _law(run: Run) -> str:
    decides = {
        "config": deciding(run.info["config"]),
        "model": run.info["model"].get("fingerprint"),
        "samples": samples_of(run),
    }
    return json.dumps(decides, sort_keys=True, default=str)
