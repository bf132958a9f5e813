"""Entropy H(p) of the token distributions, for each problem and step, in bits. Letters as in
`block.py`.

Knows nothing of how the entropy was computed: it is recorded for every position by the decoder.
"""

from __future__ import annotations

import numpy as np

from .block import Block, frozen, mean_where


def over_all(block: Block) -> np.ndarray:
    """[N, T] mean over all generated positions (the seed's H(P_t))."""
    entropy = np.asarray(block.variables["entropy"])
    return mean_where(entropy, np.ones(entropy.shape, bool))


def over_masked(block: Block) -> np.ndarray:
    """[N, T] mean over the positions that were still masked; NaN where none was."""
    return block.at_performed(mean_where(np.asarray(block.variables["entropy"]), block.masked))


def over_committed(block: Block) -> np.ndarray:
    """[N, T] mean over the positions that were already committed; NaN where none was."""
    return block.at_performed(mean_where(np.asarray(block.variables["entropy"]), ~block.masked))


def at_answer(block: Block) -> np.ndarray:
    """[N, T] mean over the extracted answer's positions, each frozen when it commits; NaN without
    an extracted answer.

    The model's own uncertainty about the answer given its state. Positions are taken one by one, so
    for answers of several tokens this is an upper bound of the joint entropy per token.
    """
    positions = np.arange(block.commit_step.shape[1])
    start, end = (
        np.asarray(block.variables[name])[:, None] for name in ("answer_start", "answer_end")
    )
    chosen = (positions >= start) & (positions < end) & (start >= 0)
    kept = frozen(np.asarray(block.variables["entropy"]), block.commit_step)
    return block.at_performed(mean_where(kept, np.broadcast_to(chosen[:, None, :], kept.shape)))
