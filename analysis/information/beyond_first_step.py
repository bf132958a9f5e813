"""I(State; Correct | first step): what the belief at a step adds to all that the first step showed,
over the steps.

How hard a problem is can be read off its question, so that I(State; Correct) is large before
anything was denoised, and more so at the answer's place, which is known from the end. Both are in
the first step's features: state and belief at the answer slot. What is left is what denoising adds.
At the first step itself it is 0 by definition; a significant value there says that the baseline
leaves something unread, and that later values are too large by as much.

Where problems have several samples it is of one of each, the first with a Y: the strata, and with
them the permutations, are those of one baseline, which has a row for each problem.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from ..metrics.trajectories import is_of_blocks, steps_of
from ..results import Quantity
from .conditional import Baseline
from .features import RunFeatures
from .over_steps import PERMUTATIONS
from .points import Named, Points
from .sample import normal_scores
from .targets import groups_of, shortage, targets_of, without
from .threads import workers

if TYPE_CHECKING:
    from ...engine.store import Run

NAME = "mi_beyond/logistic"
P_NAME = "mi_beyond_p/logistic"
LABEL = "I(correct; belief at the answer slot | state and belief at the first step), logistic"
P_LABEL = f"p-value over all steps (max-T) of: {LABEL}; score statistic, permuted within strata"
LEVEL = 0.05
FIRST_DIFFERS = (
    "decoding goes block by block, and the first step that shows the answer's place is another in "
    "each problem"
)

_ESTIMATE = Named(NAME, LABEL)
_P = Named(P_NAME, P_LABEL)


def quantity_names() -> list[str]:
    """The estimate and its p-value."""
    return [NAME, P_NAME]


class Beyond(NamedTuple):
    """`mi_beyond/logistic` [step] in bits, `mi_beyond_p/logistic`; `info` the first step and the
    strata; warnings."""

    quantities: dict[str, Quantity]
    info: dict[str, Any]
    warnings: list[str]


def beyond_first_step(
    run: Run,
    *,
    seed: int = 0,
    permutations: int = PERMUTATIONS,
    features: RunFeatures | None = None,
) -> Beyond:
    """The curve of `run`, or why there is none: fewer than 100 problems, a class below 20, or no
    features. `features`: those of `run`, where others use them too."""
    curve = Points(steps_of(run), permutations)
    target = targets_of(run)["correct"]
    if target.missing:
        return Beyond(curve.quantities(_ESTIMATE, _P, missing=target.missing), {}, [])
    if is_of_blocks(run):
        empty = curve.quantities(_ESTIMATE, _P)
        return Beyond({name: each.undefined(FIRST_DIFFERS) for name, each in empty.items()}, {}, [])
    graded = target.first_rows
    shown = _features(RunFeatures(run) if features is None else features, graded)
    rows = np.flatnonzero(np.isfinite(shown.at_first).all(axis=1))
    y = target.values[target.layers[0]][rows]
    rest = without(len(rows), len(graded), "a recorded state of the answer")
    missing = shortage(len(rows), y, rest=rest)
    if missing:
        missing = f"at the first step: {missing}"
        return Beyond(curve.quantities(_ESTIMATE, _P, missing=missing), {}, [])

    groups = groups_of(run)[graded][rows]
    with workers() as pool:
        baseline = Baseline(shown.at_first[rows], y, groups, number=permutations, seed=seed)
        complete = shown.complete_steps(rows)
        beliefs = [shown.belief[rows, step] for step in complete]
        for step, point in zip(complete, pool.map(baseline.point, beliefs), strict=True):
            curve.put(step, point, len(rows))
    quantities = curve.quantities(_ESTIMATE, _P)
    info = {
        "first_step": shown.first,
        "strata": int(baseline.strata.max()) + 1,
        "features": shown.at_first.shape[1],
    }
    return Beyond(quantities, info, _warnings(quantities[P_NAME].values[shown.first]))


class _Features(NamedTuple):
    """`belief` [graded, step, 3], the `first` step that has one, and state and belief there,
    `at_first` [graded, feature]."""

    belief: np.ndarray
    first: int
    at_first: np.ndarray

    def complete_steps(self, rows: np.ndarray) -> list[int]:
        """The steps at which all of `rows` have a belief. The baseline is of these problems, so a
        step that lacks one of them has no value."""
        is_complete = np.isfinite(self.belief[rows]).all(axis=(0, 2))
        return [int(step) for step in np.flatnonzero(is_complete)]


def _features(features: RunFeatures, graded: np.ndarray) -> _Features:
    belief = features.narrow["belief"][graded]
    has_belief = np.isfinite(belief).all(axis=2)
    known = np.flatnonzero(has_belief.any(axis=0))
    first = int(known[0]) if len(known) else 0
    state = features.state_at(first)[graded].astype(np.float64)
    scores = np.full_like(belief[:, first], np.nan)
    rows = has_belief[:, first]
    if rows.any():
        scores[rows] = normal_scores(belief[rows, first])
    return _Features(belief, first, np.concatenate([state, scores], axis=1))


def _warnings(p_first: float) -> list[str]:
    if not p_first <= LEVEL:
        return []
    return [
        f"{NAME}: p = {p_first:.3g} at the first step, where it should find nothing: the baseline "
        "leaves part of the first step unread, and later steps are too large by as much"
    ]
