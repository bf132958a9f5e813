"""Folds and permutations that keep the rows of one group together: problems of one question.

They are not independent: they go into the same fold, and a permutation moves their labels as one
block to a group of as many rows. Samples of one problem never come here together (layers.py).
"""

from __future__ import annotations

import numpy as np

from ...engine.store.counts import count_text
from .sample import generator


def folds_of(
    target: np.ndarray, groups: np.ndarray | None, number: int, rng: np.random.Generator
) -> np.ndarray:
    """[n] fold 0 to number - 1 of each row, whole groups, with `target` [n] spread evenly over the
    folds."""
    count, group = _numbered(groups, len(target))
    total = np.bincount(group, weights=target)
    mean = total / np.bincount(group)
    order = np.lexsort((rng.random(count), mean))
    fold = np.empty(count, np.int64)
    # Each run of `number` groups with like targets is dealt in an order of its own, so that no fold
    # gets the low ends.
    for start in range(0, count, number):
        dealt = order[start : start + number]
        folds = rng.permutation(number)
        fold[dealt] = folds[: len(dealt)]
    of_rows: np.ndarray = fold[group]
    return of_rows


def permutations(n: int, number: int, seed: int, groups: np.ndarray | None = None) -> np.ndarray:
    """[number, n] row numbers: y[result[b]] is y permuted. Groups trade places as blocks with
    groups of their size."""
    rng = generator(seed, "permutations")
    if groups is None or len(np.unique(groups)) == n:
        return np.argsort(rng.random((number, n)), axis=1)
    _, group = _numbered(groups, n)
    rows = np.argsort(group, kind="stable")
    sizes = np.bincount(group)
    ends = np.cumsum(sizes)
    starts = np.concatenate([[0], ends[:-1]])
    permuted = np.empty((number, n), np.int64)
    for size in np.unique(sizes):
        first = starts[sizes == size]
        members = rows[first[:, None] + np.arange(size)]  # [groups of this size, size]
        for draw in range(number):
            order = rng.permutation(len(members))
            permuted[draw, members] = members[order]
    return permuted


def parts_of(
    n: int, number: int, rng: np.random.Generator, groups: np.ndarray | None = None
) -> np.ndarray:
    """[n] part 0 to number - 1 of each row: a random split into parts of equal size, whole
    groups."""
    count, group = _numbered(groups, n)
    part = np.arange(count) % number
    of_rows: np.ndarray = rng.permutation(part)[group]
    return of_rows


def _numbered(groups: np.ndarray | None, n: int) -> tuple[int, np.ndarray]:
    """(how many groups there are, group number of each row); each row its own without `groups`."""
    if groups is None:
        return n, np.arange(n)
    if len(groups) != n:
        raise ValueError(
            f"groups has {count_text(len(groups), 'entry', 'entries')} for "
            f"{count_text(n, 'row')}; expected one for each row"
        )
    distinct, group = np.unique(groups, return_inverse=True)
    return len(distinct), group.reshape(-1)
