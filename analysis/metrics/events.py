"""What happened when in each problem: first and last hits, what was given up, and the order of the
commits. Letters as in `block.py`.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from ..means import mean_over_problems
from .block import Block
from .emergence import final_guess, hit, lasting, stable_hit

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


def events(block: Block, *, block_length: int) -> Events:
    """What happened when, for each problem; `block_length` in positions."""
    return Events(
        first_hit_step=_first(hit(block)),
        stable_hit_step=_first(stable_hit(block)),
        settled_step=_first(lasting(final_guess(block))),
        hits_lost=_hits_lost(block),
        guess_changes=_guess_changes(block),
        commit_order=_spearman(block.commit_step),
        commit_order_in_block=_order_in_blocks(block.commit_step, block_length),
    )


def _first(values: np.ndarray) -> np.ndarray:
    """[N] the first step at which `values` [N, T] is 1."""
    seen = values == 1
    step = seen.argmax(axis=1) if seen.shape[1] else 0
    return np.where(seen.any(axis=1), step, NEVER).astype(np.int32)


def _hits_lost(block: Block) -> np.ndarray:
    hits = np.nan_to_num(_carried(hit(block)))
    lost = (hits[:, :-1] == 1) & (hits[:, 1:] == 0)
    return np.where(block.gold_length > 0, lost.sum(axis=1), np.nan)


def _carried(values: np.ndarray) -> np.ndarray:
    """Values with NaN replaced by the latest one before, so that a step that was not performed
    changes nothing."""
    steps = np.arange(values.shape[1])
    source = np.maximum.accumulate(np.where(np.isnan(values), 0, steps), axis=1)
    return np.take_along_axis(values, source, axis=1)


def _guess_changes(block: Block) -> np.ndarray:
    """[N] steps at which a guess at the extracted answer's positions is another than before."""
    changes = block.guess[:, 1:] != block.guess[:, :-1]
    count = (changes & block.extracted[:, None, :]).any(axis=2).sum(axis=1)
    return np.where(block.has_answer, count.astype(np.float64), np.nan)


def _order_in_blocks(commit_step: np.ndarray, block_length: int) -> np.ndarray:
    """[N] mean over blocks of the rank correlation within a block."""
    problems, positions = commit_step.shape
    whole = positions // block_length * block_length
    blocks = commit_step[:, :whole].reshape(-1, block_length)
    correlation = _spearman(blocks).reshape(problems, -1)
    return mean_over_problems(correlation.T).mean


def _spearman(commit_step: np.ndarray) -> np.ndarray:
    """[N] rank correlation of commit step and position; positions never committed count as last.
    NaN where all commit at one step."""
    from scipy.stats import rankdata

    length = int(commit_step.shape[1])
    rank = np.zeros(commit_step.shape)
    if commit_step.size:
        rank = rankdata(commit_step, axis=1)
        rank = rank - rank.mean(axis=1, keepdims=True)
    place = np.arange(length) - (length - 1) / 2
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.asarray((rank @ place) / np.sqrt((rank**2).sum(axis=1) * (place**2).sum()))
