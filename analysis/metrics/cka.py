"""Debiased linear CKA between steps, for each problem. Letters as in `block.py`.

The decoder records each problem's step x step matrix in exact logit geometry (Song et al. 2012,
U-statistic of HSIC) and the two position subsets for consecutive steps.
"""

from __future__ import annotations

import numpy as np

from .block import Block
from .metric import NO_POSITION, Metric


def consecutive(block: Block) -> np.ndarray:
    """[N, T] CKA of each step with the performed step before it, over all generated positions."""
    previous = block.previous_performed
    source = np.maximum(previous, 0)[:, :, None]
    values = np.take_along_axis(block.variable("cka"), source, axis=2)[:, :, 0]
    return np.where(previous >= 0, block.at_performed(values.astype(np.float64)), np.nan)


CONSECUTIVE = Metric(
    consecutive,
    units="1",
    label="debiased CKA of the logits with the step before, all positions",
    variables=("cka",),
    missing=NO_POSITION,
    every_position=True,
)


def consecutive_masked(block: Block) -> np.ndarray:
    """[N, T] the same over the positions masked at both steps (recorded)."""
    return block.at_performed(block.variable("cka_masked").astype(np.float64))


CONSECUTIVE_MASKED = Metric(
    consecutive_masked,
    units="1",
    label="debiased CKA with the step before, positions masked at both",
    variables=("cka_masked",),
    missing=NO_POSITION,
)


def consecutive_committed(block: Block) -> np.ndarray:
    """[N, T] the same over the positions committed at both steps (recorded)."""
    return block.at_performed(block.variable("cka_committed").astype(np.float64))


CONSECUTIVE_COMMITTED = Metric(
    consecutive_committed,
    units="1",
    label="debiased CKA with the step before, positions committed at both",
    variables=("cka_committed",),
    missing=NO_POSITION,
    every_position=True,
)


def to_final(block: Block) -> np.ndarray:
    """[N, T] CKA of each step with the last performed step of its problem."""
    last = np.where(block.performed, np.arange(block.n_steps), -1).max(axis=1, initial=-1)
    source = np.maximum(last, 0)[:, None, None]
    values = np.take_along_axis(block.variable("cka"), source, axis=2)[:, :, 0]
    return block.at_performed(values.astype(np.float64))


TO_FINAL = Metric(
    to_final,
    units="1",
    label="debiased CKA of the logits with the last step, all positions",
    variables=("cka",),
    missing=NO_POSITION,
    every_position=True,
)
