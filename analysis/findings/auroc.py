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
from ..groups import Groups
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


def auroc(score: np.ndarray, positive: np.ndarray, groups: Groups | None = None) -> Auroc:
    """P(score of a positive > score of a negative), ties one half, with the standard error of
    DeLong et al. 1988; where some of `groups` have several rows with that of Obuchowski 1997.

    `score` [n], `positive` [n] bool; non-finite scores are left out. NaN where a class is empty;
    the error is NaN where a class has fewer than two members. Ranks instead of pairs: Sun and Xu
    2014, eq. 5.
    """
    from scipy.stats import rankdata

    finite = np.isfinite(score)
    if groups is not None and not groups.is_plain:
        return _clustered(score[finite], positive[finite], groups.chosen(finite))
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


def _clustered(score: np.ndarray, positive: np.ndarray, groups: Groups) -> Auroc:
    """The same of rows that are samples of problems (Obuchowski 1997, Biometrics 53, 567): the
    components of DeLong are summed over each problem, and those of one problem's positives and
    negatives go together. Rows weigh as everywhere."""
    n = groups.count()
    if positive.all() or not positive.any():
        return Auroc(float("nan"), float("nan"), n)
    weight = groups.weight
    share = np.where(positive, weight / weight[positive].sum(), weight / weight[~positive].sum())
    beaten = np.empty(len(score))
    beaten[positive] = _share_below(score[positive], score[~positive], share[~positive])
    beaten[~positive] = 1 - _share_below(score[~positive], score[positive], share[positive])
    area = float((share * beaten)[positive].sum())

    component = share * (beaten - area)
    unweighted = Groups(groups.number, np.ones(len(groups)))
    above = unweighted.sums(np.where(positive, component, 0.0))
    below = unweighted.sums(np.where(positive, 0.0, component))
    with np.errstate(invalid="ignore", divide="ignore"):
        variance = (
            (above**2).sum() * _bessel(groups.count(positive))
            + (below**2).sum() * _bessel(groups.count(~positive))
            + 2 * (above * below).sum() * _bessel(n)
        )
        stderr = float(np.sqrt(variance))
    return Auroc(area, stderr, n)


def _bessel(n: int) -> float:
    return n / (n - 1) if n > 1 else float("nan")


def _share_below(score: np.ndarray, others: np.ndarray, share: np.ndarray) -> np.ndarray:
    """[score] the share of `others` that lies below each, ties one half; `share` [other] sums to
    1."""
    order = np.argsort(others, kind="stable")
    below = np.concatenate([[0.0], np.cumsum(share[order])])
    first = np.searchsorted(others[order], score, side="left")
    last = np.searchsorted(others[order], score, side="right")
    return np.asarray((below[first] + below[last]) / 2)


def auroc_trajectories(
    metrics: Mapping[str, np.ndarray],
    verdict: np.ndarray,
    groups: Groups | None = None,
    *,
    each_step: bool = False,
) -> dict[str, Quantity]:
    """`auroc/<signal>` [step] over problems with a gold answer; positive is graded correct.
    `groups`: which rows are samples of one problem.

    "insufficient" below 100 such problems or 20 in the smaller class. `each_step`: a step without
    as many has no value, for where problems end at different steps.
    """
    graded = verdict != NO_GOLD_ANSWER
    positive = verdict == CORRECT
    groups = Groups.single(len(verdict)) if groups is None else groups
    of_graded = groups.chosen(graded)
    quantities = {}
    for signal in SIGNALS:
        score = signal.sign * metrics[signal.metric][graded]
        quantities[f"auroc/{signal.name}"] = _trajectory(
            score, positive[graded], of_graded, signal.metric, each_step=each_step
        )
    return quantities


def _trajectory(
    score: np.ndarray, positive: np.ndarray, groups: Groups, metric: str, *, each_step: bool
) -> Quantity:
    areas = []
    errors = []
    counts = []
    for step in range(score.shape[1]):
        of_step = auroc(score[:, step], positive, groups)
        areas.append(of_step.area)
        errors.append(of_step.stderr)
        counts.append(of_step.n)

    area = np.array(areas, np.float64)
    n = np.array(counts, np.int64)
    if each_step:
        area[_too_few(score, positive, groups)] = np.nan
    reason = shortage(positive, groups) or _no_value(area, metric)
    return Quantity(
        area,
        ("step",),
        "1",
        n=n,
        stderr=np.where(np.isfinite(area), np.array(errors, np.float64), np.nan),
        status=status_of(reason),
        label=f"AUROC of {metric} against correctness ({error_name(groups)} error)",
    )


def error_name(groups: Groups) -> str:
    """Whose standard error an AUROC over these rows has."""
    return "DeLong" if groups.is_plain else "Obuchowski"


def _too_few(score: np.ndarray, positive: np.ndarray, groups: Groups) -> np.ndarray:
    """[step] bool: not enough problems with a score for this step by itself."""
    has_score = np.isfinite(score)
    n = groups.counts(has_score)
    positives = groups.counts(has_score & positive[:, None])
    negatives = groups.counts(has_score & ~positive[:, None])
    smaller = np.minimum(positives, negatives)
    return np.asarray((n < MIN_PROBLEMS) | (smaller < MIN_CLASS))


def shortage(positive: np.ndarray, groups: Groups) -> str:
    """Why the problems of these graded rows [n] are too few, or nothing; both numbers are said."""
    n = groups.count()
    minority = min(groups.count(positive), groups.count(~positive))
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
        trajectories.metrics,
        material.verdict,
        material.groups,
        each_step=trajectories.ends_differ or trajectories.of_blocks,
    )


FINDING = Finding(tuple(f"auroc/{signal.name}" for signal in SIGNALS), _make)
