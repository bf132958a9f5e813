"""Folds and permutations that keep the rows of one problem together.

Several samples of one problem are not independent: they go into the same fold, and a permutation
moves their labels as one block to a problem with as many samples. Knows no estimator.
"""

from __future__ import annotations

import numpy as np

from .sample import generator


def folds_of(
    target: np.ndarray, groups: np.ndarray | None, number: int, rng: np.random.Generator
) -> np.ndarray:
    """[n] fold 0 to number - 1 of each row, whole groups, with `target` [n] spread evenly over the
    folds."""
    first, group = _first_rows(groups, len(target))
    mean = np.bincount(group, weights=target) / np.bincount(group)
    order = np.lexsort((rng.random(len(first)), mean))
    fold = np.empty(len(first), np.int64)
    # Each run of `number` groups with like targets is dealt in an order of its own, so that no fold
    # gets the low ends.
    for start in range(0, len(first), number):
        dealt = order[start : start + number]
        fold[dealt] = rng.permutation(number)[: len(dealt)]
    return fold[group]


def permutations(n: int, number: int, seed: int, groups: np.ndarray | None = None) -> np.ndarray:
    """[number, n] row numbers: y[result[b]] is y permuted. Groups trade places as blocks with
    groups of their size."""
    rng = generator(seed, "permutations")
    if groups is None or len(np.unique(groups)) == n:
        return np.argsort(rng.random((number, n)), axis=1)
    _, group = _first_rows(groups, n)
    rows = np.argsort(group, kind="stable")
    size = np.bincount(group)
    start = np.concatenate([[0], np.cumsum(size)[:-1]])
    found = np.empty((number, n), np.int64)
    for one in np.unique(size):
        members = rows[start[size == one][:, None] + np.arange(one)]  # [groups of this size, one]
        for draw in range(number):
            found[draw, members] = members[rng.permutation(len(members))]
    return found


def parts_of(
    n: int, number: int, rng: np.random.Generator, groups: np.ndarray | None = None
) -> np.ndarray:
    """[n] part 0 to number - 1 of each row: a random split into parts of equal size, whole
    groups."""
    first, group = _first_rows(groups, n)
    part = np.arange(len(first)) % number
    return rng.permutation(part)[group]


def _first_rows(groups: np.ndarray | None, n: int) -> tuple[np.ndarray, np.ndarray]:
    """(first row of each group, group number of each row)."""
    if groups is None:
        return np.arange(n), np.arange(n)
    if len(groups) != n:
        raise ValueError(
            f"groups has {len(groups)} entries for {n} rows; expected one for each row"
        )
    first, group = np.unique(groups, return_index=True, return_inverse=True)[1:]
    return first, group.reshape(-1)
