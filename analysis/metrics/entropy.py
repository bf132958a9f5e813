"""Entropy H(p) of the token distributions, for each problem and step, in bits, as the decoder
recorded it for every position. Letters as in `block.py`.
"""

from __future__ import annotations

import numpy as np

from .block import Block, frozen, mean_where
from .metric import NO_ANSWER, NO_POSITION, Metric


def over_all(block: Block) -> np.ndarray:
    """[N, T] mean over all generated positions (the original suite's H(P_t))."""
    return block.mean_read(block.variable("entropy"))


OVER_ALL = Metric(
    over_all,
    units="bits",
    label="entropy, mean over all generated positions",
    variables=("entropy",),
    missing=NO_POSITION,
    every_position=True,
)


def over_masked(block: Block) -> np.ndarray:
    """[N, T] mean over the positions that were still masked; NaN where none was."""
    return block.at_performed(block.mean_read(block.variable("entropy"), block.masked))


OVER_MASKED = Metric(
    over_masked,
    units="bits",
    label="entropy, mean over masked positions",
    variables=("entropy",),
    missing=NO_POSITION,
)


def over_committed(block: Block) -> np.ndarray:
    """[N, T] mean over the positions that were already committed; NaN where none was."""
    return block.at_performed(block.mean_read(block.variable("entropy"), ~block.masked))


OVER_COMMITTED = Metric(
    over_committed,
    units="bits",
    label="entropy, mean over committed positions",
    variables=("entropy",),
    missing=NO_POSITION,
    every_position=True,
)


def at_answer(block: Block) -> np.ndarray:
    """[N, T] mean over the extracted answer's positions, each frozen when it commits; NaN without
    an extracted answer.

    The model's own uncertainty about the answer given its state. Positions are taken one by one, so
    for answers of several tokens this is an upper bound of the joint entropy per token.
    """
    kept = frozen(block.variable("entropy"), block.freeze_step)
    inside = np.broadcast_to(block.extracted[:, None, :], kept.shape)
    return block.at_performed(mean_where(kept, inside))


AT_ANSWER = Metric(
    at_answer,
    units="bits",
    label="the model's own entropy at the extracted answer, mean over its positions",
    variables=("entropy", "answer_start", "answer_end"),
    missing=NO_ANSWER,
    kept=True,
)
