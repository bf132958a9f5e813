"""The text summary of an analysis (`analysis_summary.txt`): made from the numbers, each with its
unit and n.

Says "insufficient" where the analysis does. Each group of sections is a file of its own.
"""

from __future__ import annotations

from pathlib import Path

from ...engine.store.write.results import publish
from ..results import Analysis
from .pivotal import pivotal_lines
from .summary_branches import branch_lines
from .summary_curves import curve_lines, spike_lines, trajectory_lines
from .summary_dataset import dataset_lines, grading_lines, mark_of, sample_lines
from .summary_emergence import emergence_lines, exit_lines
from .summary_information import information_lines, map_lines
from .summary_insights import key_insights
from .summary_interventions import INTERVENTION_VALUES, intervention_lines
from .values import spike_rule

TRAJECTORY_VALUES = "first -> last step with a value (mean over problems +- standard error)"


def write_summary(analysis: Analysis, path: str | Path) -> None:
    """Write `summarise(analysis)` to `path`, complete or not at all. Raises OSError."""
    publish(path, summarise(analysis).encode())


def summarise(analysis: Analysis) -> str:
    """The whole text, in the original suite's order: dataset, S-curve, spikes, statistics,
    patterns, insights, warnings."""
    head = f"diffengine analysis of run {analysis.info['run']}"
    parts = [f"{head}\n{'=' * len(head)}"]
    if analysis.info.get("stale"):
        parts.append(f"STALE: {analysis.info['stale']}")
    mark = mark_of(analysis)
    for title, lines in sections(analysis).items():
        text = "\n".join(_marked(line, mark) for line in lines)
        parts.append(f"{title}\n{'-' * len(title)}\n{text}")
    return "\n\n".join(parts) + "\n"


def sections(analysis: Analysis) -> dict[str, list[str]]:
    """Title -> lines of each section."""
    samples = sample_lines(analysis)
    found = {
        "Dataset": dataset_lines(analysis),
        "Grading": grading_lines(analysis),
        **({"Several samples of a problem": samples} if samples else {}),
        "S-curve": curve_lines(analysis),
        f"Information spikes (rule {spike_rule(analysis)})": spike_lines(analysis),
        f"Trajectories, {TRAJECTORY_VALUES}": trajectory_lines(analysis),
        "Mutual information I(State; Correct), first -> last step": information_lines(analysis),
        "Answer information, from branches": branch_lines(analysis),
        "Pivotal steps": pivotal_lines(analysis),
        "Answer emergence (mean over problems +- standard error)": emergence_lines(analysis),
        "Early exits, replayed on the exact trajectories (counterfactual)": exit_lines(analysis),
        "t-SNE map": map_lines(analysis),
        "Patterns": _pattern_lines(analysis),
        "Key insights": key_insights(analysis),
    }
    if interventions := analysis.info.get("interventions"):
        found[f"Interventions, {INTERVENTION_VALUES}"] = intervention_lines(interventions)
    return found | {"Warnings": analysis.info["warnings"] or ["none"]}


def _pattern_lines(analysis: Analysis) -> list[str]:
    return [
        f"[{sign.kind}] {sign.name}: {sign.verdict}\n    {sign.evidence}"
        for sign in analysis.patterns
    ]


def _marked(line: str, mark: str) -> str:
    return line if line.startswith("unfinished:") else f"{line}{mark}"
