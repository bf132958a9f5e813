"""Debiased linear CKA between steps, for each problem. Letters as in `block.py`.

Knows nothing of how CKA is computed: the decoder records each problem's step x step matrix in exact
logit geometry (Song et al. 2012, U-statistic of HSIC) and the two position subsets for consecutive
steps.
"""

from __future__ import annotations

import numpy as np

from .block import Block, previous_performed


def consecutive(block: Block) -> np.ndarray:
    """[N, T] CKA of each step with the performed step before it, over all generated positions."""
    previous = previous_performed(block.performed)
    picked = np.take_along_axis(
        np.asarray(block.variables["cka"]), np.maximum(previous, 0)[:, :, None], axis=2
    )
    return np.where(previous >= 0, block.at_performed(picked[:, :, 0].astype(np.float64)), np.nan)


def consecutive_masked(block: Block) -> np.ndarray:
    """[N, T] the same over the positions masked at both steps (recorded)."""
    return block.at_performed(np.asarray(block.variables["cka_masked"], np.float64))


def consecutive_committed(block: Block) -> np.ndarray:
    """[N, T] the same over the positions committed at both steps (recorded)."""
    return block.at_performed(np.asarray(block.variables["cka_committed"], np.float64))


def to_final(block: Block) -> np.ndarray:
    """[N, T] CKA of each step with the last performed step of its problem."""
    steps = block.performed.shape[1]
    last = np.where(block.performed, np.arange(steps), -1).max(axis=1, initial=-1)
    picked = np.take_along_axis(
        np.asarray(block.variables["cka"]), np.maximum(last, 0)[:, None, None], axis=2
    )
    return block.at_performed(picked[:, :, 0].astype(np.float64))
