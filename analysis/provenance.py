"""Which problems and shards an analysis was made from, and whether that is what the run holds now.

A run goes on after it was analysed. Whoever shows a saved analysis beside its run compares first,
and says so.
"""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import TYPE_CHECKING

from ..engine.store.counts import count_text
from ..engine.store.drawing import unit_of_decodings
from ..engine.store.read.branch_runs import branch_folders
from ..engine.store.write.manifest import read_manifests

if TYPE_CHECKING:
    from ..engine.problems.read import Problem
    from ..engine.store import Run
    from .info import Seen
    from .results import Analysis


def seen(run: Run) -> Seen:
    """What an analysis keeps of the run that it is made from: `n_problems`, and a `digest` of run
    id, fingerprint, the ids asked for and stored, and the checksums of all shards, those of branch
    runs included."""
    entries = read_manifests(Path(run.path)).entries
    content = {
        "run_id": run.info.get("run_id"),
        "fingerprint": run.info.get("fingerprint"),
        "asked": [[problem.id, problem.answer] for problem in run.problems],
        "stored": sorted(run.ids),
        "shards": sorted((name, entry.sha256) for name, entry in entries.items()),
    }
    if branches := _branches(Path(run.path)):
        content["branches"] = branches
    text = json.dumps(content, sort_keys=True, ensure_ascii=True)
    return {"n_problems": len(run.ids), "digest": hashlib.sha256(text.encode()).hexdigest()}


def _branches(run_dir: Path) -> dict[str, list[tuple[str, str]]]:
    """Name and checksum of the shards of each branch run in the run's folder."""
    shards = {}
    for folder in branch_folders(run_dir):
        entries = read_manifests(folder).entries
        shards[folder.name] = sorted((name, entry.sha256) for name, entry in entries.items())
    return shards


def content_of(problem: Problem) -> str:
    """A digest of question and gold answer: one id may name different problems in different
    runs."""
    text = json.dumps([problem.question, problem.answer], ensure_ascii=True)
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def staleness(analysis: Analysis, run: Run) -> str:
    """How `analysis` differs from what `run` holds now, as a sentence; empty if it was made from
    exactly that."""
    now = seen(run)
    then = analysis.info.get("seen")
    mend = f"run `diffengine analyze {run.path}` again"
    count = analysis.info.get("n_problems", 0) if then is None else then["n_problems"]
    if count != now["n_problems"]:
        unit = unit_of_decodings(run.problems)
        return (
            f"this analysis is of {count_text(count, unit)}, the run now holds "
            f"{now['n_problems']}; {mend}"
        )
    if then is None:
        return (
            "this analysis does not say which problems of the run it saw (made by an earlier "
            f"version); {mend}"
        )
    if then["digest"] != now["digest"]:
        return (
            f"this analysis was made from other problems or shards than the run holds now; {mend}"
        )
    return ""


def staleness_beside(analysis: Analysis, folder: Path) -> str:
    """The same for an analysis that lies in `folder`; empty where that is no run, so that nothing
    can be compared."""
    from ..engine.store import DamagedRun, NotARun, open_run

    if not (folder / "run.json").is_file():
        return ""
    try:
        with open_run(folder) as run:
            return staleness(analysis, run)
    except (DamagedRun, NotARun) as error:
        return f"this analysis cannot be compared with its run: {error}"
