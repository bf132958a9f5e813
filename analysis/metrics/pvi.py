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
from .metric import NO_SLOT, Metric


def gold_answer(block: Block) -> np.ndarray:
    """[N, T] bits, frozen where a position commits; NaN without a gold answer, a slot or recorded
    null beliefs."""
    slot = block.slot
    rows = np.arange(len(slot.used))[:, None]
    tokens = np.arange(slot.used.shape[1])
    null = block.variable("null_answer_logprob")[rows, slot.position, tokens].astype(np.float64)

    gained = slot_logprob(block) - null[:, None, :]
    total = np.where(slot.used[:, None, :], gained, 0.0).sum(axis=2)
    defined = (block.slot_status == 0)[:, None]
    return block.at_performed(np.where(defined, total / np.log(2.0), np.nan))


GOLD_ANSWER = Metric(
    gold_answer,
    units="bits",
    label="pointwise V-information of the gold answer at its place: log2 p - log2 p without the "
    "question",
    variables=("answer_logprob", "answer_token_id", "answer_start", "null_answer_logprob"),
    missing=NO_SLOT,
    kept=True,
)
