"""Do early signals tell right from wrong? AUROC of a signal against correctness, step by step, with
DeLong's error.

The signals never look at the gold answer. Those at the answer's place need to know where the answer
will stand; the canvas ones do not. A signal is turned so that above .5 means what one expects:
surer, less entropy, less movement.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

import numpy as np

from ...engine.store.format.verdicts import CORRECT, NO_GOLD_ANSWER
from ..limits import MIN_CLASS, MIN_PROBLEMS, lacking, status_of
from ..quantity import Quantity
from .finding import Finding, Material


class Signal(NamedTuple):
    """What may tell early whether the answer will be right: the metric that it is read from, and
    the sign that makes large mean sure."""

    name: str
    metric: str
    sign: float


SIGNALS = (
    Signal("answer_confidence", "answer/confidence", 1.0),
    Signal("answer_margin", "answer/margin", 1.0),
    Signal("answer_entropy", "conditional_entropy/answer_slot", -1.0),
    Signal("canvas_entropy", "entropy/masked", -1.0),
    Signal("canvas_kl", "kl/masked", -1.0),
)


class Auroc(NamedTuple):
    """Area under the ROC curve, its standard error, and the number of problems behind it."""

    area: float
    stderr: float
    n: int


def auroc(score: np.ndarray, positive: np.ndarray) -> Auroc:
    """P(score of a positive > score of a negative), ties one half, with the standard error of
    DeLong et al. 1988.

    `score` [n], `positive` [n] bool; non-finite scores are left out. NaN where a class is empty;
    the error is NaN where a class has fewer than two members. Ranks instead of pairs: Sun and Xu
    2014, eq. 5.
    """
    from scipy.stats import rankdata

    finite = np.isfinite(score)
    positives = score[finite & positive]
    negatives = score[finite & ~positive]
    m = len(positives)
    n = len(negatives)
    if not m or not n:
        return Auroc(float("nan"), float("nan"), m + n)

    rank = rankdata(np.concatenate([positives, negatives]))
    above = (rank[:m] - rankdata(positives)) / n
    below = 1 - (rank[m:] - rankdata(negatives)) / m
    stderr = float("nan")
    if min(m, n) > 1:
        variance = above.var(ddof=1) / m + below.var(ddof=1) / n
        stderr = float(np.sqrt(variance))
    return Auroc(float(above.mean()), stderr, m + n)


def auroc_trajectories(
    metrics: Mapping[str, np.ndarray], verdict: np.ndarray, *, each_step: bool = False
) -> dict[str, Quantity]:
    """`auroc/<signal>` [step] over problems with a gold answer; positive is graded correct.

    "insufficient" below 100 such problems or 20 in the smaller class. `each_step`: a step without
    as many has no value, for where problems end at different steps.
    """
    graded = verdict != NO_GOLD_ANSWER
    positive = verdict == CORRECT
    quantities = {}
    for signal in SIGNALS:
        score = signal.sign * metrics[signal.metric][graded]
        quantities[f"auroc/{signal.name}"] = _trajectory(
            score, positive[graded], signal.metric, each_step=each_step
        )
    return quantities


def _trajectory(
    score: np.ndarray, positive: np.ndarray, metric: str, *, each_step: bool
) -> Quantity:
    areas = []
    errors = []
    counts = []
    for step in range(score.shape[1]):
        of_step = auroc(score[:, step], positive)
        areas.append(of_step.area)
        errors.append(of_step.stderr)
        counts.append(of_step.n)

    area = np.array(areas, np.float64)
    n = np.array(counts, np.int64)
    if each_step:
        area[_too_few(score, positive)] = np.nan
    reason = _shortage(positive) or _no_value(area, metric)
    return Quantity(
        area,
        ("step",),
        "1",
        n=n,
        stderr=np.where(np.isfinite(area), np.array(errors, np.float64), np.nan),
        status=status_of(reason),
        label=f"AUROC of {metric} against correctness (DeLong error)",
    )


def _too_few(score: np.ndarray, positive: np.ndarray) -> np.ndarray:
    """[step] bool: not enough problems with a score for this step by itself."""
    has_score = np.isfinite(score)
    n = has_score.sum(axis=0)
    positives = (has_score & positive[:, None]).sum(axis=0)
    smaller = np.minimum(positives, n - positives)
    return np.asarray((n < MIN_PROBLEMS) | (smaller < MIN_CLASS))


def _shortage(positive: np.ndarray) -> str:
    """Why these graded problems [n] are too few, or nothing; both numbers are said."""
    n = len(positive)
    minority = int(min(positive.sum(), (~positive).sum()))
    if n >= MIN_PROBLEMS and minority >= MIN_CLASS:
        return ""
    problems = lacking(n, MIN_PROBLEMS, "graded problem(s)")
    members = lacking(minority, MIN_CLASS, "in the smaller class")
    return f"{problems}, {members}"


def _no_value(area: np.ndarray, metric: str) -> str:
    return "" if np.isfinite(area).any() else f"no step with enough values of {metric}"


def _make(material: Material) -> dict[str, Quantity]:
    trajectories = material.trajectories
    return auroc_trajectories(
        trajectories.metrics, material.verdict, each_step=trajectories.ends_differ
    )


FINDING = Finding(tuple(f"auroc/{signal.name}" for signal in SIGNALS), _make)
