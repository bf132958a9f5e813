"""What happened when in each problem: first and last hits, what was given up, and the order of the
commits. Letters as in `block.py`.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from ..means import mean_over_problems
from .block import Block
from .emergence import final_guess, hit, lasting, stable_hit
from .opened import Opened

NEVER = -1


class Events(NamedTuple):
    """[N] per problem; steps are -1 where it never happens. NaN in the floats where undefined."""

    first_hit_step: np.ndarray
    stable_hit_step: np.ndarray
    settled_step: np.ndarray
    hits_lost: np.ndarray
    guess_changes: np.ndarray
    commit_order: np.ndarray
    commit_order_in_block: np.ndarray
    ordered_pairs: np.ndarray


def events(block: Block, *, block_length: int) -> Events:
    """What happened when, for each problem; `block_length` in positions, 0 where there are no
    blocks."""
    commit_step = np.where(block.never_committed, np.nan, block.commit_step)
    return Events(
        first_hit_step=_first(hit(block)),
        stable_hit_step=_first(stable_hit(block)),
        settled_step=_first(lasting(final_guess(block))),
        hits_lost=_hits_lost(block),
        guess_changes=_guess_changes(block),
        commit_order=_spearman(commit_step),
        commit_order_in_block=(
            _order_in_blocks(commit_step, block_length)
            if block.opened is None
            else _order_in_opened(commit_step, block.opened)
        ),
        ordered_pairs=_ordered_pairs(commit_step),
    )


def _first(values: np.ndarray) -> np.ndarray:
    """[N] the first step at which `values` [N, T] is 1."""
    happens = values == 1
    if not happens.shape[1]:
        return np.full(len(happens), NEVER, np.int32)
    first = happens.argmax(axis=1)
    step = np.where(happens.any(axis=1), first, NEVER)
    return step.astype(np.int32)


def _hits_lost(block: Block) -> np.ndarray:
    hits = np.nan_to_num(_carried(hit(block)))
    before = hits[:, :-1]
    after = hits[:, 1:]
    is_lost = (before == 1) & (after == 0)
    count = is_lost.sum(axis=1)
    return np.where(block.gold_length > 0, count, np.nan)


def _carried(values: np.ndarray) -> np.ndarray:
    """Values with NaN replaced by the latest one before, so that a step that was not performed
    changes nothing."""
    steps = np.arange(values.shape[1])
    own_step = np.where(np.isnan(values), 0, steps)
    source = np.maximum.accumulate(own_step, axis=1)
    return np.take_along_axis(values, source, axis=1)


def _guess_changes(block: Block) -> np.ndarray:
    """[N] steps at which a guess at the extracted answer's positions is another than before."""
    before = block.guess[:, :-1]
    after = block.guess[:, 1:]
    is_change = (after != before) & (before >= 0)
    in_answer = is_change & block.extracted[:, None, :]
    changes = in_answer.any(axis=2)
    count = changes.sum(axis=1).astype(np.float64)
    return np.where(block.has_answer, count, np.nan)


def _order_in_blocks(commit_step: np.ndarray, block_length: int) -> np.ndarray:
    """[N] mean over blocks of the rank correlation within a block; NaN without blocks."""
    problems, positions = commit_step.shape
    if not block_length:
        return np.full(problems, np.nan)
    whole = positions // block_length * block_length
    blocks = commit_step[:, :whole].reshape(-1, block_length)
    correlation = _spearman(blocks).reshape(problems, -1)
    return mean_over_problems(correlation.T).mean


def _order_in_opened(commit_step: np.ndarray, opened: Opened) -> np.ndarray:
    """[N] the same of blocks that begin where each problem's own do."""
    correlations = np.full(len(commit_step), np.nan)
    for row, (steps, number) in enumerate(zip(commit_step, opened.number, strict=True)):
        blocks = [number == each for each in np.unique(number[number >= 0])]
        of_blocks = np.array([_spearman(steps[inside][None])[0] for inside in blocks], np.float64)
        known = of_blocks[np.isfinite(of_blocks)]
        if len(known):
            correlations[row] = known.mean()
    return correlations


def _spearman(commit_step: np.ndarray) -> np.ndarray:
    """[N] rank correlation of commit step and position, over the positions that were committed (not
    NaN); commits of one step share their mean rank. NaN where all commit at one step."""
    from scipy.stats import rankdata

    is_committed = np.isfinite(commit_step)
    length = int(commit_step.shape[1])
    rank = np.zeros(commit_step.shape)
    if commit_step.size:
        last = np.where(is_committed, commit_step, np.inf)
        rank = _centred(rankdata(last, axis=1), is_committed)
    place = np.broadcast_to(np.arange(length, dtype=np.float64), commit_step.shape)
    place = _centred(place, is_committed)
    covariance = (rank * place).sum(axis=1)
    squares = (rank**2).sum(axis=1) * (place**2).sum(axis=1)
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.asarray(covariance / np.sqrt(squares))


def _centred(values: np.ndarray, chosen: np.ndarray) -> np.ndarray:
    """`values` [N, P] less their mean over the `chosen` ones of the row; 0 elsewhere."""
    number = np.maximum(chosen.sum(axis=1, keepdims=True), 1)
    mean = np.where(chosen, values, 0.0).sum(axis=1, keepdims=True) / number
    return np.where(chosen, values - mean, 0.0)


def _ordered_pairs(commit_step: np.ndarray) -> np.ndarray:
    """[N] share of the pairs of committed positions that commit at different steps: within a step
    there is no order. NaN with fewer than two."""
    shares = [_ordered_share(row[np.isfinite(row)]) for row in commit_step]
    return np.array(shares, np.float64)


def _ordered_share(steps: np.ndarray) -> float:
    n = len(steps)
    if n < 2:
        return float("nan")
    _, together = np.unique(steps, return_counts=True)
    unordered = (together * (together - 1)).sum()
    return float(1 - unordered / (n * (n - 1)))
