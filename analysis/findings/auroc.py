"""Do early signals tell right from wrong? AUROC of a signal against correctness, step by step, with
DeLong's error.

The signals never look at the gold answer. Those at the answer's place need to know where the answer
will stand; the canvas ones do not. A signal is turned so that above .5 means what one expects:
surer, less entropy, less movement.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from ..registry import SIGNALS
from ..results import Quantity
from ..wording import lacking
from .accuracy import CORRECT, NO_GOLD_ANSWER

MIN_PROBLEMS = 100
MIN_CLASS = 20


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

    known = np.isfinite(score)
    one = score[known & positive]
    other = score[known & ~positive]
    m = len(one)
    n = len(other)
    if not m or not n:
        return Auroc(float("nan"), float("nan"), m + n)
    rank = rankdata(np.concatenate([one, other]))
    above = (rank[:m] - rankdata(one)) / n
    below = 1 - (rank[m:] - rankdata(other)) / m
    area = above.mean()
    stderr = np.sqrt(above.var(ddof=1) / m + below.var(ddof=1) / n) if min(m, n) > 1 else np.nan
    return Auroc(float(area), float(stderr), m + n)


def auroc_trajectories(metrics: dict[str, np.ndarray], verdict: np.ndarray) -> dict[str, Quantity]:
    """`auroc/<signal>` [step] over problems with a gold answer; positive is graded correct.

    "insufficient" below 100 such problems or 20 in the smaller class.
    """
    graded = verdict != NO_GOLD_ANSWER
    positive = verdict == CORRECT
    return {
        f"auroc/{name}": _trajectory(sign * metrics[metric][graded], positive[graded], metric)
        for name, (metric, sign) in SIGNALS.items()
    }


def _trajectory(score: np.ndarray, positive: np.ndarray, metric: str) -> Quantity:
    found = [auroc(score[:, step], positive) for step in range(score.shape[1])]
    area, stderr, n = (
        np.array([one[part] for one in found], kind)
        for part, kind in ((0, np.float64), (1, np.float64), (2, np.int64))
    )
    minority = int(min(positive.sum(), (~positive).sum()))
    status = "ok"
    if len(positive) < MIN_PROBLEMS or minority < MIN_CLASS:
        status = (
            f"insufficient: {lacking(len(positive), MIN_PROBLEMS, 'graded problems')}, "
            f"{lacking(minority, MIN_CLASS, 'in the smaller class')}"
        )
    elif not np.isfinite(area).any():
        status = f"insufficient: no value of {metric}"
    return Quantity(
        area,
        ("step",),
        "1",
        n,
        stderr,
        status,
        f"AUROC of {metric} against correctness (DeLong error)",
    )
