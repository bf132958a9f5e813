"""The report page's section "When is the answer decided?": curves of what branches say, the table
of pivotal steps, each problem's answers by state, and the sensitivity map.

Plain values for JSON. Shapes: S steps of the page, K states, G positions.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from ...engine.store.errors import DamagedRun, NotStored
from ...engine.store.read.branch_runs import branch_folders
from ..branching.answers import ENTROPY, INFORMATION, SHOWN
from ..branching.sensitivity import SensitivityMap
from ..errors import SettingError
from ..results import Analysis
from .pivotal import Answer, Pivot, answers_at, pivots
from .plots.answer_information import UNREADABLE, finding
from .report_curves import Chart, Curve, drawn_chart, rounded
from .report_problems import Coding
from .sensitivity import SHOWN as MEASURES
from .sensitivity import first_map
from .summary_branches import ABSENT, OF_BLOCKS, what_lines
from .values import is_of_blocks, usable

if TYPE_CHECKING:
    from ...engine.store import Run

MOST_PIVOTS = 50
"""Rows of the table; pivotal_steps.csv has all."""

CHARTS = (
    Chart(
        "Bits of the answer",
        "entropy of the answers that a state comes to",
        (
            Curve(f"{INFORMATION}/{SHOWN}", "decided, I_t", "correct"),
            Curve(f"{ENTROPY}/{SHOWN}", "still open, H(A | x_t)", "masked"),
        ),
    ),
    Chart(
        "How many answers are decided",
        "share of problems, of branches",
        (
            Curve("decided/nine_tenths", "one answer has 90 % of the branches", "all"),
            Curve("decided/mode_is_final", "the most frequent is the run's own", "committed"),
            Curve("branches/accuracy", "branches that are right", "correct"),
        ),
        span="unit",
    ),
)


class Section(NamedTuple):
    """`page`: what the page shows of all problems. `maps`: the sensitivity of each decoding [N, K,
    G] by measure, and the `codings` of the measures; empty where no position was acted on by
    itself."""

    page: dict[str, Any]
    maps: dict[str, np.ndarray]
    codings: dict[str, Coding]


def branch_section(run: Run, analysis: Analysis | None, steps: int) -> Section:
    """The section for a page of so many `steps`; where there are no branches it says how to get
    them."""
    sensitivity, fault = _sensitivity(run)
    maps: dict[str, np.ndarray] = {}
    if sensitivity is not None:
        maps = {name: sensitivity.of_decodings(name) for name, _ in MEASURES}
    codings = _codings(maps)
    why_not = _why_not(run, analysis)
    page: dict[str, Any] = {"why_not": why_not, "map": _mean_map(sensitivity, codings)}
    page["note"] = fault
    if not why_not and analysis is not None:
        facts = analysis.info["branching"]
        page |= {
            "said": _said(analysis),
            "grid": facts["at"],
            "end": facts["end"],
            "samples": facts["samples"],
            "charts": [drawn_chart(analysis, chart, steps) for chart in CHARTS],
            **_table(analysis),
        }
    return Section(page, maps, codings)


def of_problems(
    run: Run, analysis: Analysis | None, section: Section, rows: Sequence[int]
) -> Iterator[dict[str, Any]]:
    """What the page shows of each problem at `rows` of the run."""
    at = _rows_of(analysis)
    for row in rows:
        more: dict[str, Any] = {}
        if not section.page["why_not"] and analysis is not None and run.ids[row] in at:
            more["branches"] = _answers(analysis, at[run.ids[row]])
        own = {name: values[row] for name, values in section.maps.items()}
        if any(np.isfinite(values).any() for values in own.values()):
            more["map"] = {name: section.codings[name].encode(own[name]) for name in own}
        yield more


def _why_not(run: Run, analysis: Analysis | None) -> str:
    """Why there is nothing to show, and what to do; nothing where there is."""
    facts = None if analysis is None else analysis.info.get("branching")
    if facts:
        return ""
    if facts is not None:
        return f"{UNREADABLE}."
    if branch_folders(Path(run.path)):
        return "There are branches that no analysis has read yet: diffengine analyze RUN"
    none = ABSENT
    if analysis is not None and is_of_blocks(analysis):
        none = OF_BLOCKS
    return f"{none[0].upper()}{none[1:]}."


def _said(analysis: Analysis) -> list[str]:
    """The sentences over the curves."""
    facts = analysis.info["branching"]
    sentences = []
    if usable(analysis, f"{ENTROPY}/{SHOWN}"):
        sentences.append(f"{finding(analysis)}.")
    sentences += [f"{line[0].upper()}{line[1:]}." for line in what_lines(analysis)]
    if facts["others"]:
        sentences.append(f"Not pooled, not shown: {'; '.join(facts['others'])}.")
    return sentences


def _table(analysis: Analysis) -> dict[str, Any]:
    """The first pivotal steps, how many there are, and among how many problems."""
    table = pivots(analysis)
    share = analysis["pivotal/problems"]
    return {
        "pivots": [_pivot(pivot) for pivot in table[:MOST_PIVOTS]],
        "n_pivots": len(table),
        "n_tested": int(share.n) if share.ok else 0,
        "pivots_why_not": "" if share.ok else share.status,
    }


def _pivot(pivot: Pivot) -> dict[str, Any]:
    return {
        "id": pivot.id,
        "question": pivot.question,
        "step": pivot.step,
        "until": pivot.until,
        "drop": rounded(pivot.drop),
        "p": rounded(pivot.p),
        "before": _state(pivot.before, pivot.others_before),
        "after": _state(pivot.after, pivot.others_after),
        "committed": pivot.committed,
    }


def _rows_of(analysis: Analysis | None) -> dict[str, int]:
    """The rows of an analysis that have answers of branches, by problem id."""
    if analysis is None or "branch_answer" not in analysis.problems:
        return {}
    ids = [str(name) for name in analysis.problems["id"]]
    return {name: row for row, name in enumerate(ids)}


def _answers(analysis: Analysis, row: int) -> dict[str, Any]:
    """H(A | x_t) of a problem at the states of the grid, and the answers of each, the end among
    them."""
    grid = analysis.info["branching"]["at"]
    entropy = analysis.problems[ENTROPY][row][grid]
    states = [_state(*answers_at(analysis, row, place)) for place in range(len(grid) + 1)]
    return {"entropy": [rounded(value) for value in entropy.tolist()], "states": states}


def _state(answers: Sequence[Answer], others: int) -> dict[str, Any]:
    """The answers of a state as [text, share], "" without an answer, and how many more."""
    named = [[answer.text, rounded(answer.share)] for answer in answers]
    return {"answers": named, "others": others}


def _sensitivity(run: Run) -> tuple[SensitivityMap | None, str]:
    """The first map of the run, and why there is none where one should be."""
    if not branch_folders(Path(run.path)) or "performed" not in run:
        return None, ""
    try:
        return first_map(run), ""
    except SettingError:
        return None, ""
    except (DamagedRun, NotStored) as error:
        return None, f"The sensitivity map is left out: {error}"


def _codings(maps: dict[str, np.ndarray]) -> dict[str, Coding]:
    """How the values of each measure become bytes: shares as they are, counts by their largest."""
    labels = dict(MEASURES)
    codings = {}
    for name, values in maps.items():
        largest = float(np.max(values[np.isfinite(values)], initial=0.0))
        codings[name] = Coding(max(largest, 1.0), 1, labels[name])
    return codings


def _mean_map(
    sensitivity: SensitivityMap | None, codings: dict[str, Coding]
) -> dict[str, Any] | None:
    """The map as a mean over problems, with all that the problems' own maps share."""
    if sensitivity is None:
        return None
    means = {name: sensitivity.mean(name) for name in codings}
    first = next(iter(means.values()))
    return {
        "text": sensitivity.text,
        "steps": sensitivity.steps.tolist(),
        "codings": {name: coding._asdict() for name, coding in codings.items()},
        "n": int(first.n.max(initial=0)),
        "mean": {name: codings[name].encode(found.mean) for name, found in means.items()},
    }
