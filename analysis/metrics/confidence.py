"""How sure the model is of the gold answer, for each problem and step. Knows nothing of means over
problems.

p is the probability of each gold answer token at each generated position. The gold answer's tokens
are used always, whether or not the generation contains them: conditioning on that would condition
on the outcome. NaN where there is no gold answer or no value was recorded. Letters as in
`block.py`.
"""

from __future__ import annotations

import numpy as np

from .block import Block, frozen
from .slot import Slot, continuation, gold_length, gold_slot, slot_status


def softmax_sum(block: Block) -> np.ndarray:
    """[N, T] sum of p over positions and gold tokens: an expected number of tokens, it exceeds 1
    when they recur.

    A token that occurs twice in the gold answer counts twice (the seed's definition).
    """
    probability, valid = _probability(block)
    return _with_gold(np.where(valid, probability, 0.0).sum(axis=(2, 3), dtype=np.float64), valid)


def max_prob(block: Block) -> np.ndarray:
    """[N, T] largest p of any gold token at any position."""
    probability, valid = _probability(block)
    return _with_gold(
        np.where(valid, probability, 0.0).max(axis=(2, 3), initial=0.0).astype(np.float64), valid
    )


def mean_prob(block: Block) -> np.ndarray:
    """[N, T] mean of p over positions and gold tokens."""
    positions = block.commit_step.shape[1]
    with np.errstate(invalid="ignore", divide="ignore"):
        return softmax_sum(block) / (gold_length(block)[:, None] * positions)


def answer_slot(block: Block) -> np.ndarray:
    """[N, T] probability that exactly the gold answer stands at the slot, under the factorisation
    of one step.

    Product over j of p(gold token j at position answer_start + j), times 1 - p(the position behind
    goes on with the answer); each factor is frozen when its position commits.
    """
    return np.exp(gold_logprob(block))


def answer_slot_per_token(block: Block) -> np.ndarray:
    """[N, T] the same to the power 1 / number of gold tokens, comparable between answers of
    different length."""
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.exp(gold_logprob(block) / gold_length(block)[:, None])


def gold_logprob(block: Block) -> np.ndarray:
    """[N, T] log of `answer_slot`, in nats; -inf where the answer surely goes on behind the gold
    tokens."""
    slot = gold_slot(block)
    joint = np.where(slot.used[:, None, :], slot_logprob(block, slot), 0.0).sum(axis=2)
    ends = 1.0 - continuation(block, slot)
    with np.errstate(divide="ignore"):
        end = np.log(
            np.where(ends > 0, ends, np.where(np.isnan(ends), np.nan, 0.0))
        )  # 1 - (1 + rounding) is no log
    return block.at_performed(np.where((slot_status(block) == 0)[:, None], joint + end, np.nan))


def slot_logprob(block: Block, slot: Slot) -> np.ndarray:
    """[N, T, A] log p of each gold token at its place in `slot`, nats, frozen at its commit; of use
    where used."""
    offset = np.arange(slot.used.shape[1])
    rows = np.arange(len(slot.used))[:, None]
    steps = np.arange(block.performed.shape[1])
    logprob = np.asarray(block.variables["answer_logprob"])
    at_slot = logprob[
        rows[:, :, None], steps[None, :, None], slot.position[:, None, :], offset[None, None, :]
    ]
    return frozen(at_slot.astype(np.float64), block.commit_step[rows, slot.position])


def _probability(block: Block) -> tuple[np.ndarray, np.ndarray]:
    valid = np.asarray(block.variables["answer_token_id"]) >= 0
    return np.exp(np.asarray(block.variables["answer_logprob"])), valid[:, None, None, :]


def _with_gold(values: np.ndarray, valid: np.ndarray) -> np.ndarray:
    return np.where(valid.any(axis=(2, 3)), values, np.nan)
