"""The branch runs of a run in words: which there are, what each was asked for, how far it is."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ..store.counts import count_text

NAMED = 3
"""Interventions named in one line."""


def branch_run_facts(run_dir: Path) -> list[dict[str, Any]]:
    """Each branch run of a run: `path`, branches `stored` and `asked`, what it was asked for; or
    its `path` and the `fault` for which it cannot be read."""
    from ..store import DamagedRun, NotARun
    from ..store.read.branch_runs import branch_folders

    facts = []
    for folder in branch_folders(run_dir):
        try:
            facts.append(_facts_of(folder))
        except (DamagedRun, NotARun) as error:
            facts.append({"path": str(folder), "fault": str(error)})
    return facts


def _facts_of(folder: Path) -> dict[str, Any]:
    from ..runs.run_json import BRANCHES
    from ..store import open_run

    with open_run(folder) as run:
        asked = run.info.get(BRANCHES)
        if not isinstance(asked, dict):
            return {"path": str(folder), "fault": "is no branch run; move it elsewhere"}
        config = run.info["config"]
        return {
            "path": str(folder),
            "stored": len(run),
            "asked": len(run.problems),
            "temperature": float(config.get("temperature") or 0),
            "record": config.get("record"),
            **{name: asked.get(name) for name in ("at", "samples", "noise", "interventions")},
        }


def branch_run_text(facts: Mapping[str, Any]) -> str:
    """One branch run in a line."""
    if "fault" in facts:
        return f"{facts['path']}: cannot be read: {facts['fault']}"
    done = f"{facts['stored']} of {count_text(facts['asked'], 'branch', 'branches')} done"
    return (
        f"{facts['path']}: {done}; {asked_text(facts)}; temperature {facts['temperature']:g}, "
        f"record {facts['record']}"
    )


def asked_text(asked: Mapping[str, Any]) -> str:
    """ "at steps 0, 8; 16 of each state, noise fresh; after nothing, remask answer"."""
    steps = ", ".join(str(step) for step in asked["at"])
    texts = list(asked["interventions"])
    if asked["noise"] == "parent" and len(texts) > 1:
        texts = texts[1:]  # where nothing is done the parent itself goes on
    named = ", ".join(texts[:NAMED])
    more = len(texts) - NAMED
    also = f" and {count_text(more, 'other intervention')}" if more > 0 else ""
    of_each = f"{asked['samples']} of each state, noise {asked['noise']}"
    return f"at steps {steps}; {of_each}; after {named}{also}"
