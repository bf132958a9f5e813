"""KL divergence between a step's token distributions and those of the step before, in bits. Letters
as in `block.py`.

KL(p_t || p_t-1) is recorded for every position by the decoder, NaN at the first step. Positions
fall into three groups at step t: masked at both steps, committed at both, and committed just now
(by step t-1), where the input has changed.
"""

from __future__ import annotations

import numpy as np

from .block import Block
from .metric import NO_POSITION, Metric


def over_all(block: Block) -> np.ndarray:
    """[N, T] mean over all generated positions."""
    return block.mean_read(block.variable("kl"))


OVER_ALL = Metric(
    over_all,
    units="bits",
    label="KL(p_t || p_t-1), mean over all generated positions",
    variables=("kl",),
    missing=NO_POSITION,
    every_position=True,
)


def over_masked(block: Block) -> np.ndarray:
    """[N, T] mean over positions masked at both steps; NaN where there is none."""
    return _mean(block, block.masked)


OVER_MASKED = Metric(
    over_masked,
    units="bits",
    label="KL(p_t || p_t-1), mean over positions masked at both steps",
    variables=("kl",),
    missing=NO_POSITION,
)


def over_committed(block: Block) -> np.ndarray:
    """[N, T] mean over positions committed before both steps; NaN where there is none."""
    return _mean(block, _stood_at_previous(block))


OVER_COMMITTED = Metric(
    over_committed,
    units="bits",
    label="KL(p_t || p_t-1), mean over positions committed at both steps",
    variables=("kl",),
    missing=NO_POSITION,
    every_position=True,
)


def over_just_committed(block: Block) -> np.ndarray:
    """[N, T] mean over positions that the step before committed; NaN where there is none."""
    return _mean(block, ~block.masked & ~_stood_at_previous(block))


OVER_JUST_COMMITTED = Metric(
    over_just_committed,
    units="bits",
    label="KL(p_t || p_t-1), mean over positions committed by step t-1",
    variables=("kl",),
    missing=NO_POSITION,
    every_position=True,
)


def _mean(block: Block, chosen: np.ndarray) -> np.ndarray:
    return block.at_performed(block.mean_read(block.variable("kl"), chosen))


def _stood_at_previous(block: Block) -> np.ndarray:
    """[N, T, P] bool: both steps saw the same token; the step before neither committed nor revised
    it."""
    previous = block.previous_performed[:, :, None]
    stood = block.first_commit[:, None, :] < previous
    if block.revised is None:
        return stood
    was_revised = np.take_along_axis(block.revised.at, np.maximum(previous, 0), axis=1)
    return np.asarray(stood & ~was_revised)
