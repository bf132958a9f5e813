"""Whether a curve over steps holds any information: the same permutations of y for all steps, and
the largest step.

Under the null every permutation of y over problems is as likely as the given one. The same
permutations serve every step, so that the steps' correlation is kept, and a step is judged against
the largest of all steps (max-T, Westfall and Young 1993): p = (1 + #{b : max over steps T_b >= T})
/ (1 + B), which bounds the chance of any false step.

`..._many` functions return one estimator's values for many relabellings of the same x, exactly as
the estimator would.
"""

from __future__ import annotations

import numpy as np

from ..means import deviation
from .neighbors import nearest
from .ridge import axes_of, linear

PENALTIES = 10.0 ** np.arange(-2, 3)
"""Of the cross-fitted linear score, in units of n: each column of the standardised x has sum of
squares n."""

NEAR = 24
"""Neighbours looked at first when the k-th of a label is sought."""

SAME = 1e-9
"""Difference up to which scaled statistics count as equal: equal values must, after rounding."""


def max_t(values: np.ndarray) -> np.ndarray:
    """[step] adjusted p-values from `values` [1 + B, step]: row 0 as observed, the others under
    permutations of y.

    Each step is first centred and scaled over all 1 + B rows alike, which leaves the test exact and
    gives steps of different noise the same say. NaN where a step has no value.
    """
    p = np.full(values.shape[1], np.nan)
    known = np.isfinite(values).all(axis=0)
    if not known.any():
        return p
    used = values[:, known]
    spread = deviation(used)
    unit = np.where(spread > 0, spread, 1.0)
    scores = (used - used.mean(axis=0)) / unit
    largest = scores[1:].max(axis=1)
    is_larger = largest[:, None] >= scores[0] - SAME
    p[known] = (1 + is_larger.sum(axis=0)) / len(values)
    return p


def ross_many(x: np.ndarray, codes: np.ndarray, k: int = 3, backend: str = "auto") -> np.ndarray:
    """[B] Ross in nats for prepared columns x [n, d] without ties and B relabellings `codes` [B,
    n].

    m_i is the rank of the k-th neighbour of the same label among all neighbours, so one sorted list
    of neighbours serves every relabelling. Raises ValueError if a label occurs once in the first of
    them.
    """
    from scipy.special import digamma

    n = len(x)
    rarest = int(np.bincount(codes[0]).min())
    if rarest < 2:
        raise ValueError("a label occurs once; leave such rows out")
    near = nearest(x, min(NEAR, n - 1), backend=backend)
    rarest_share = rarest / n
    expected = (k + 6 * np.sqrt(k)) / rarest_share
    depth = int(min(n - 1, expected))
    tables = [near]
    if depth > near.shape[1]:
        tables.append(nearest(x, depth, backend=backend))
    values = np.empty(len(codes))
    for number, labels in enumerate(codes):
        members = np.bincount(labels)
        k_of_label = np.minimum(k, members - 1)
        k_of = k_of_label[labels]
        rank = _rank_of_kth(x, labels, k_of, tables)
        terms = digamma(k_of) - digamma(members[labels]) - digamma(rank)
        values[number] = digamma(n) + terms.mean()
    return values


def _rank_of_kth(
    x: np.ndarray, labels: np.ndarray, k_of: np.ndarray, tables: list[np.ndarray]
) -> np.ndarray:
    """[n] at which place among the neighbours the k-th of the same label stands, from 1.

    `tables`: ids of neighbours [n, many], each longer than the one before; rows that none of them
    settles are sorted whole.
    """
    rank = np.zeros(len(x), np.int64)
    rows = np.arange(len(x))
    for table in tables:
        neighbours = table[rows]
        is_same = labels[neighbours] == labels[rows, None]
        count = np.cumsum(is_same, axis=1, dtype=np.int16)
        is_enough = count >= k_of[rows, None]
        is_settled = is_enough[:, -1]
        first = is_enough[is_settled].argmax(axis=1)
        rank[rows[is_settled]] = first + 1
        rows = rows[~is_settled]
        if not len(rows):
            return rank
    for row in rows:
        difference = np.abs(x - x[row])
        distance = difference.max(axis=1)
        distance[row] = np.inf
        order = np.argsort(distance, kind="stable")
        is_same = labels[order] == labels[row]
        is_enough = np.cumsum(is_same) >= k_of[row]
        rank[row] = int(np.argmax(is_enough)) + 1
    return rank


def linear_many(x: np.ndarray, targets: np.ndarray, fold: np.ndarray) -> np.ndarray:
    """[B] how much of each target [B, n] a linear score of x [n, d], fitted on the other folds,
    explains.

    1 - SSE / SSE of the training mean, out of fold, for the best of the ridge penalties. Refitted
    for every target, and the best penalty taken for every target, so that observed and permuted
    values come about in the same way.
    """
    y = np.ascontiguousarray(targets.T, np.float64)
    errors = np.zeros((len(PENALTIES), y.shape[1]))
    null_errors = np.zeros(y.shape[1])
    for number in range(int(fold.max()) + 1):
        held = fold == number
        kept = ~held
        y_held = y[held]
        y_kept = y[kept]
        axes = axes_of(x[kept])
        train = axes.of(x[kept])
        test = axes.of(x[held])
        penalties = PENALTIES * len(train)
        predictions = linear(axes, train, y_kept, test, penalties)
        errors += ((predictions - y_held) ** 2).sum(axis=1)
        null_errors += ((y_held - y_kept.mean(axis=0)) ** 2).sum(axis=0)

    explained: np.ndarray = 1 - errors.min(axis=0) / null_errors
    return explained
