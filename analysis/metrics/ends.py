"""How each problem ended: at which step, after how many forward passes, with how many masks left.

A problem *runs* until its last forward pass and has *ended* afterwards. Under a fixed schedule all
end at one step; under a free one each ends at its own, and the number of steps is a bound. Letters
as in `block.py`.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from .block import Block

NEVER = -1


class Ends(NamedTuple):
    """[N] per problem. `end_step`: the last step with a forward pass. `masks_left`: positions that
    a pass saw and that hold no token; `tokens`: those that hold one;
    `revisions`: how often a token was replaced. `answer_commit_step`: the
    step that committed the answer's last position, -1 where one of them never was.
    """

    end_step: np.ndarray
    steps_performed: np.ndarray
    masks_left: np.ndarray
    tokens: np.ndarray
    revisions: np.ndarray
    answer_commit_step: np.ndarray


def ends(block: Block) -> Ends:
    """How the problems of a block ended."""
    return Ends(
        end_step=block.end_step.astype(np.int32),
        steps_performed=block.performed.sum(axis=1, dtype=np.int32),
        masks_left=block.left_masked.sum(axis=1, dtype=np.int32),
        tokens=(~block.never_committed).sum(axis=1, dtype=np.int32),
        revisions=_revisions(block),
        answer_commit_step=_answer_commit_step(block),
    )


def _revisions(block: Block) -> np.ndarray:
    if block.revised is None:
        return np.zeros(len(block.performed), np.int32)
    return np.asarray(block.revised.at.sum(axis=(1, 2), dtype=np.int32))


def _answer_commit_step(block: Block) -> np.ndarray:
    in_answer = np.where(block.extracted, block.commit_step, NEVER)
    last = in_answer.max(axis=1, initial=NEVER)
    is_open = (block.extracted & block.never_committed).any(axis=1)
    return np.where(is_open, NEVER, last)
