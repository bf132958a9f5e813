"""I(State; Correct | first step): what the belief at a step adds to all that the first step showed,
over the steps.

How hard a problem is can be read off its question, so that I(State; Correct) is large before
anything was denoised, and more so at the answer's place, which is known from the end. Both are in
the first step's features: state and belief at the answer slot. What is left is what denoising adds.
At the first step itself it is 0 by definition; a significant value there says that the baseline
leaves something unread, and that later values are too large by as much.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from ..metrics.trajectories import steps_of
from ..results import Quantity
from .over_steps import PERMUTATIONS, groups_of, targets_of, workers
from .sample import NATS
from .significance import max_t
from .uncertainty import insufficient

if TYPE_CHECKING:
    from ...engine.store import Run
    from .curves import Point

NAME = "mi_beyond/logistic"
LABEL = "I(correct; belief at the answer slot | state and belief at the first step), logistic"
LEVEL = 0.05


def quantity_names() -> list[str]:
    """The estimate and its p-value."""
    return [NAME, NAME.replace("/", "_p/")]


class Beyond(NamedTuple):
    """`mi_beyond/logistic` [step] in bits, `mi_beyond_p/ross`; `info` the first step and the
    strata; warnings."""

    quantities: dict[str, Quantity]
    info: dict[str, Any]
    warnings: list[str]


def beyond_first_step(run: Run, *, seed: int = 0, permutations: int = PERMUTATIONS) -> Beyond:
    """The curve of `run`, or why there is none: fewer than 100 problems, a class below 20, or no
    features."""
    target = targets_of(run)["correct"]
    steps = steps_of(run)
    if target.missing:
        return _nothing(steps, target.missing)
    belief, first, wide = _features(run, target.rows, steps)
    rows = np.flatnonzero(np.isfinite(wide).all(axis=1))
    y = target.values[rows]
    if missing := insufficient(
        len(rows), y, of=len(target.rows), without="a recorded state of the answer"
    ):
        return _nothing(steps, f"at the first step: {missing}")
    from .conditional import Baseline

    groups = groups_of(run)[target.rows][rows]
    values = np.full(steps, np.nan)
    stderr = np.full(steps, np.nan)
    n = np.zeros(steps, np.int64)
    null = np.full((1 + permutations, steps), np.nan)
    with workers() as pool:
        baseline = Baseline(wide[rows], y, groups, number=permutations, seed=seed)
        # The baseline is of these problems, so a step that lacks one of them has no value.
        at = [step for step in range(steps) if np.isfinite(belief[rows, step]).all()]
        points: list[Point] = list(pool.map(lambda step: baseline.point(belief[rows, step]), at))
    for step, point in zip(at, points, strict=True):
        values[step] = point.nats
        stderr[step] = point.stderr
        null[:, step] = point.null
        n[step] = len(rows)
    p = max_t(null)
    info = {
        "first_step": first,
        "strata": int(baseline.strata.max()) + 1,
        "features": wide.shape[1],
    }
    return Beyond(_quantities(values / NATS, stderr / NATS, p, n, "ok"), info, _warnings(p[first]))


def _features(run: Run, graded: np.ndarray, steps: int) -> tuple[np.ndarray, int, np.ndarray]:
    """(belief [graded, step, 3], the first step that has one, state and belief there [graded,
    feature])."""
    from .features import narrow_features, states
    from .sample import normal_scores

    belief = narrow_features(run)["belief"][graded]
    known = np.flatnonzero(np.isfinite(belief).all(axis=2).any(axis=0))
    first = int(known[0]) if len(known) else 0
    state = next(iter(states(run, np.array([first]))))[1][graded].astype(np.float64)
    at_first = belief[:, first]
    there = np.isfinite(at_first).all(axis=1)
    scores = np.full_like(at_first, np.nan)
    if there.any():
        scores[there] = normal_scores(at_first[there])
    return belief, first, np.concatenate([state, scores], axis=1)


def _quantities(
    values: np.ndarray, stderr: np.ndarray, p: np.ndarray, n: np.ndarray, status: str
) -> dict[str, Quantity]:
    p_label = f"p-value over all steps (max-T) of: {LABEL}; score statistic, permuted within strata"
    return {
        NAME: Quantity(values, ("step",), "bits", n, stderr, status, LABEL),
        NAME.replace("/", "_p/"): Quantity(p, ("step",), "1", n, None, status, p_label),
    }


def _nothing(steps: int, reason: str) -> Beyond:
    none = np.full(steps, np.nan)
    status = f"insufficient: {reason}"
    return Beyond(
        _quantities(none, none.copy(), none.copy(), np.zeros(steps, np.int64), status), {}, []
    )


def _warnings(p_first: float) -> list[str]:
    if not p_first <= LEVEL:
        return []
    return [
        f"{NAME}: p = {p_first:.3g} at the first step, where it should find nothing: the baseline "
        "leaves part of the "
        "first step unread, and later steps are too large by as much"
    ]
