"""KL divergence between a step's token distributions and those of the step before, in bits. Letters
as in `block.py`.

KL(p_t || p_t-1) is recorded for every position by the decoder, NaN at the first step. Positions
fall into three groups at step t: masked at both steps, committed at both, and committed just now
(by step t-1), where the input has changed.
"""

from __future__ import annotations

import numpy as np

from .block import Block, mean_where, previous_performed


def over_all(block: Block) -> np.ndarray:
    """[N, T] mean over all generated positions."""
    kl = np.asarray(block.variables["kl"])
    return mean_where(kl, np.ones(kl.shape, bool))


def over_masked(block: Block) -> np.ndarray:
    """[N, T] mean over positions masked at both steps; NaN where there is none."""
    return _mean(block, block.masked)


def over_committed(block: Block) -> np.ndarray:
    """[N, T] mean over positions committed before both steps; NaN where there is none."""
    return _mean(block, _committed_before_previous(block))


def over_just_committed(block: Block) -> np.ndarray:
    """[N, T] mean over positions that the step before committed; NaN where there is none."""
    return _mean(block, ~block.masked & ~_committed_before_previous(block))


def _mean(block: Block, chosen: np.ndarray) -> np.ndarray:
    return block.at_performed(mean_where(np.asarray(block.variables["kl"]), chosen))


def _committed_before_previous(block: Block) -> np.ndarray:
    previous = previous_performed(block.performed)
    return block.commit_step[:, None, :] < previous[:, :, None]
