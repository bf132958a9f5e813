"""The branch runs beside a run as one part of its analysis: which of them are shown first, what is
missing of them, and what their states and continuations are.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from ...engine.store import DamagedRun, NotARun, NotStored
from ...engine.store.counts import count_text
from ...engine.store.read.branch_runs import branch_folders
from .answers import LEVEL, RANKED, SHOWN, AnswerInformation, answer_information, cannot_tell
from .branch_runs import SameLaw, by_law, deciding, read_branch_runs
from .draws import Draws, read_draws
from .pivots import pivot_columns
from .resampling import problem_means

if TYPE_CHECKING:
    from ...engine.store import Run

UNREADABLE = "the run keeps no steps, so that its branches cannot be placed; decode with record all"


class Branches(NamedTuple):
    """`shown`: what the branches of one law say; None where there are none with noise of their own.
    `info`: what is said of them beside the quantities (`Info.branching`). `warnings`: sentences.
    """

    shown: AnswerInformation | None
    info: dict[str, Any]
    warnings: list[str]


class _Law(NamedTuple):
    branches: SameLaw
    draws: Draws

    @property
    def states(self) -> int:
        """States with all their draws, the end left out."""
        return int(self.draws.is_complete[self.draws.is_asked, :-1].sum())


def read_branches(
    run: Run, *, metrics: Mapping[str, np.ndarray], steps: int, seed: int
) -> Branches | None:
    """What the branch runs in the folder of `run` say; None where there are none. `metrics`
    [decoding, step] by name. Raises DamagedRun."""
    if not branch_folders(Path(run.path)):
        return None
    if "performed" not in run:
        return Branches(None, {}, [f"branches are left out: {UNREADABLE}"])
    opened = read_branch_runs(run)
    warnings = list(opened.warnings)
    laws = _readable(run, by_law(opened.runs), warnings)
    if not laws:
        return Branches(None, {}, warnings)

    first = laws[0]
    shown = answer_information(
        first.draws,
        steps=steps,
        law=law_in_words(run, first.branches),
        metrics={name: metrics[name] for name in RANKED.values() if name in metrics},
        seed=seed,
    )
    named = pivot_columns(run, shown.pivotal, level=LEVEL)
    shown = replace(shown, columns=shown.columns | named)
    info = _info(run, first, shown) | {"others": [_one_line(law) for law in laws[1:]]}
    warnings += _warnings(first)
    for each in opened.runs:
        each.close()
    return Branches(shown, info, warnings)


def law_in_words(run: Run, branches: SameLaw) -> str:
    """What the states are and how they go on, for labels."""
    own = float(run.info["config"].get("temperature") or 0.0)
    states = "states of the greedy run" if own == 0 else f"states drawn at temperature {own:g}"
    return f"{states}, continued at temperature {branches.temperature:g}"


def is_mutual_information(run: Run, branches: SameLaw) -> bool:
    """Whether the states come from the law by which they are continued, so that the mean of I_t is
    the mutual information of state and answer."""
    own = run.info["config"]
    temperature = float(own.get("temperature") or 0.0)
    return temperature > 0 and deciding(own) == deciding(branches.config)


def _readable(run: Run, groups: list[SameLaw], warnings: list[str]) -> list[_Law]:
    """Their draws, those with the most states first; one that cannot be read is warned of."""
    laws = []
    for branches in groups:
        try:
            laws.append(_Law(branches, read_draws(run, branches)))
        except (DamagedRun, NotARun, NotStored) as error:
            warnings.append(f"branches {', '.join(branches.names)} are left out: {error}")
    return sorted(laws, key=lambda law: (-law.states, law.branches.names))


def _info(run: Run, law: _Law, shown: AnswerInformation) -> dict[str, Any]:
    draws = law.draws
    grid = draws.steps[:-1]
    branches = law.branches
    near = np.nan_to_num(shown.values.is_near_most).sum(axis=0)
    return {
        "runs": branches.names,
        "described": branches.describe(),
        "law": law_in_words(run, branches),
        "is_mutual_information": is_mutual_information(run, branches),
        "samples": draws.samples,
        "at": grid.tolist(),
        "end": int(draws.steps[-1]),
        "n_problems": len(set(draws.groups[draws.is_asked].tolist())),
        "n_decodings": int(draws.is_asked.sum()),
        "not_branched": int((~draws.is_asked).sum()),
        "missing": draws.missing,
        "expected": int(draws.is_planned.sum()) * draws.samples,
        "saturated": grid[shown.saturated[:-1]].tolist(),
        "near_most": {int(step): int(count) for step, count in zip(grid, near[:-1], strict=True)},
    }


def _warnings(law: _Law) -> list[str]:
    draws = law.draws
    warnings = []
    if draws.missing:
        warnings.append(
            f"branches unfinished: {count_text(draws.missing, 'branch', 'branches')} missing in "
            f"{', '.join(law.branches.names)}; "
            "problems are left out of the steps at which they have fewer than "
            f"{draws.samples} (run the same `diffengine branch` again)"
        )
    absent = int((~draws.is_asked).sum())
    if absent:
        warnings.append(
            f"no branches of {absent} of {count_text(len(draws.is_asked), 'decoding')}: answer "
            "information is of the others alone"
        )
    if draws.uncompared:
        pairs = count_text(draws.uncompared, "pair of answers", "pairs of answers")
        warnings.append(
            f"{pairs} that are no numbers compared as text (Math-Verify is absent, failed, or was "
            "asked too often): the same expression written differently counts as another answer, "
            "and entropies are too high"
        )
    return warnings


def _one_line(law: _Law) -> str:
    """What is said of branches that are not shown: entropy at the first and last step."""
    draws = law.draws
    shown = answer_entropy_of(draws)
    grid = draws.steps[:-1]
    known = np.flatnonzero(np.isfinite(shown[:-1]))
    names = ", ".join(law.branches.names)
    if not known.size:
        return f"{names}: {law.branches.describe()}, no step with all draws"
    ends = [f"{shown[place]:.3g} bits (step {grid[place]})" for place in known[[0, -1]]]
    limit = cannot_tell(draws.samples)
    return f"{names}: {law.branches.describe()}, H(A | x_t) {' -> '.join(ends)}; {limit}"


def answer_entropy_of(draws: Draws) -> np.ndarray:
    """[K] mean over problems of H(A | x_t) by the estimator that is shown first."""
    from .per_state import state_values

    values = getattr(state_values(draws).entropy, SHOWN)
    means = problem_means(values, draws.groups)
    finite = np.isfinite(means)
    with np.errstate(invalid="ignore"):
        return np.asarray(np.where(finite, means, 0.0).sum(axis=0) / finite.sum(axis=0))
