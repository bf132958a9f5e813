"""How sure the model is of the gold answer, for each problem and step. Knows nothing of means over problems.

p is the probability of each gold answer token at each generated position. The gold answer's tokens are used always,
whether or not the generation contains them: conditioning on that would condition on the outcome. NaN where there is no
gold answer or no value was recorded. Letters as in `block.py`.
"""

from __future__ import annotations

import numpy as np

from .block import Block, frozen

SLOT_STATUS = ("defined", "no_gold_answer", "no_answer_extracted", "does_not_fit")
"""Why the answer slot of a problem is undefined: meaning of the values of `slot_status`."""


def softmax_sum(block: Block) -> np.ndarray:
    """[N, T] sum of p over positions and gold tokens: an expected number of tokens, it exceeds 1 when they recur.

    A token that occurs twice in the gold answer counts twice (the seed's definition).
    """
    probability, valid = _probability(block)
    return _with_gold(np.where(valid, probability, 0.0).sum(axis=(2, 3), dtype=np.float64), valid)


def max_prob(block: Block) -> np.ndarray:
    """[N, T] largest p of any gold token at any position."""
    probability, valid = _probability(block)
    return _with_gold(np.where(valid, probability, 0.0).max(axis=(2, 3), initial=0.0).astype(np.float64), valid)


def mean_prob(block: Block) -> np.ndarray:
    """[N, T] mean of p over positions and gold tokens."""
    positions = block.commit_step.shape[1]
    with np.errstate(invalid="ignore", divide="ignore"):
        return softmax_sum(block) / (_gold_length(block)[:, None] * positions)


def answer_slot(block: Block) -> np.ndarray:
    """[N, T] exp(sum over j of log p(gold token j at position answer_start + j)), each frozen when it commits.

    The product over positions is the joint probability under the model's own factorisation of one step.
    """
    return np.exp(_slot_logprob(block))


def answer_slot_per_token(block: Block) -> np.ndarray:
    """[N, T] the same as a geometric mean over the gold tokens, comparable between answers of different length."""
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.exp(_slot_logprob(block) / _gold_length(block)[:, None])


def slot_status(block: Block) -> np.ndarray:
    """[N] uint8 index into `SLOT_STATUS`. The slot begins at `answer_start` and is as long as the gold answer."""
    length = _gold_length(block)
    start = np.asarray(block.variables["answer_start"])
    fits = start + length <= block.commit_step.shape[1]
    return np.select([length == 0, start < 0, ~fits], [1, 2, 3], 0).astype(np.uint8)


def _slot_logprob(block: Block) -> np.ndarray:
    tokens = np.asarray(block.variables["answer_token_id"]) >= 0  # [N, A]
    defined = slot_status(block) == 0
    used = tokens & defined[:, None]
    offset = np.arange(tokens.shape[1])
    position = np.where(used, np.asarray(block.variables["answer_start"])[:, None] + offset, 0)
    rows = np.arange(len(tokens))[:, None]
    steps = np.arange(block.performed.shape[1])
    logprob = np.asarray(block.variables["answer_logprob"])
    at_slot = logprob[rows[:, :, None], steps[None, :, None], position[:, None, :], offset[None, None, :]]
    kept = frozen(at_slot.astype(np.float64), block.commit_step[rows, position])
    joint = np.where(used[:, None, :], kept, 0.0).sum(axis=2)
    return block.at_performed(np.where(defined[:, None], joint, np.nan))


def _probability(block: Block) -> tuple[np.ndarray, np.ndarray]:
    valid = np.asarray(block.variables["answer_token_id"]) >= 0
    return np.exp(np.asarray(block.variables["answer_logprob"])), valid[:, None, None, :]


def _with_gold(values: np.ndarray, valid: np.ndarray) -> np.ndarray:
    return np.where(valid.any(axis=(2, 3)), values, np.nan)


def _gold_length(block: Block) -> np.ndarray:
    return (np.asarray(block.variables["answer_token_id"]) >= 0).sum(axis=1)
