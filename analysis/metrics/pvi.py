"""Pointwise V-information of the gold answer: by how many bits the question and the canvas make the
model surer of it.

PVI_i(t) = sum over j of log2 p_t(A_j at its place) - log2 p_null(A_j at the same place), Ethayarajh
et al. 2022 (arXiv:2110.08420, eq. 4; V-information: Xu et al. 2020, arXiv:2002.10689), where V is
the model itself, so that nothing is fitted, and the null input is the prompt without the question
before a canvas of masks. Letters as in `block.py`.
"""

from __future__ import annotations

import numpy as np

from .block import Block
from .confidence import slot_logprob
from .slot import gold_slot, slot_status


def gold_answer(block: Block) -> np.ndarray:
    """[N, T] bits, frozen where a position commits; NaN without a gold answer, a slot or recorded
    null beliefs."""
    slot = gold_slot(block)
    rows = np.arange(len(slot.used))[:, None]
    tokens = np.arange(slot.used.shape[1])
    null = np.asarray(block.variables["null_answer_logprob"])[rows, slot.position, tokens].astype(
        np.float64
    )
    gained = np.where(slot.used[:, None, :], slot_logprob(block, slot) - null[:, None, :], 0.0).sum(
        axis=2
    )
    defined = (slot_status(block) == 0)[:, None]
    return block.at_performed(np.where(defined, gained / np.log(2.0), np.nan))
