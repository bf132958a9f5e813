"""How sure the model is of the gold answer, for each problem and step.

p is the probability of each gold answer token at each generated position. The gold answer's tokens
are used always, whether or not the generation contains them: conditioning on that would condition
on the outcome. NaN where there is no gold answer or no value was recorded. Letters as in
`block.py`.
"""

from __future__ import annotations

import numpy as np

from .block import Block, frozen
from .metric import NO_GOLD_VALUE, NO_SLOT, Metric
from .slot import continuation

_GOLD = ("answer_logprob", "answer_token_id")
_AT_SLOT = (
    *_GOLD,
    "token",
    "prediction",
    "answer_start",
    "answer_end",
    "logprob",
)


def softmax_sum(block: Block) -> np.ndarray:
    """[N, T] sum of p over positions and gold tokens: an expected number of tokens, it exceeds 1
    when they recur.

    A token that occurs twice in the gold answer counts twice (the original suite's definition).
    """
    probability, valid = _probability(block)
    total = np.where(valid, probability, 0.0).sum(axis=(2, 3), dtype=np.float64)
    return _with_gold(total, valid)


SOFTMAX_SUM = Metric(
    softmax_sum,
    units="tokens",
    label="expected count of gold answer tokens over all positions (can exceed 1)",
    variables=_GOLD,
    missing=NO_GOLD_VALUE,
    every_position=True,
)


def max_prob(block: Block) -> np.ndarray:
    """[N, T] largest p of any gold token at any position."""
    probability, valid = _probability(block)
    largest = np.where(valid, probability, 0.0).max(axis=(2, 3), initial=0.0)
    return _with_gold(largest.astype(np.float64), valid)


MAX_PROB = Metric(
    max_prob,
    units="probability",
    label="largest probability of any gold answer token at any position",
    variables=_GOLD,
    missing=NO_GOLD_VALUE,
    every_position=True,
)


def mean_prob(block: Block) -> np.ndarray:
    """[N, T] mean of p over positions and gold tokens."""
    count = block.gold_length[:, None] * _n_read(block)
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.asarray(softmax_sum(block) / count)


MEAN_PROB = Metric(
    mean_prob,
    units="probability",
    label="mean probability of the gold answer tokens over all positions",
    variables=_GOLD,
    missing=NO_GOLD_VALUE,
    every_position=True,
)


def answer_slot(block: Block) -> np.ndarray:
    """[N, T] probability that exactly the gold answer stands at the slot, under the factorisation
    of one step.

    Product over j of p(gold token j at position answer_start + j), times 1 - p(the position behind
    goes on with the answer); each factor is frozen when its position commits.
    """
    return np.asarray(np.exp(gold_logprob(block)))


ANSWER_SLOT = Metric(
    answer_slot,
    units="probability",
    label="probability that exactly the gold answer stands where the answer is",
    variables=_AT_SLOT,
    missing=NO_SLOT,
    kept=True,
)


def answer_slot_per_token(block: Block) -> np.ndarray:
    """[N, T] the same to the power 1 / number of gold tokens, comparable between answers of
    different length."""
    with np.errstate(invalid="ignore", divide="ignore"):
        per_token = gold_logprob(block) / block.gold_length[:, None]
        return np.asarray(np.exp(per_token))


PER_TOKEN = Metric(
    answer_slot_per_token,
    units="probability",
    label="the same, geometric mean per gold token",
    variables=_AT_SLOT,
    missing=NO_SLOT,
    kept=True,
)


def gold_logprob(block: Block) -> np.ndarray:
    """[N, T] log of `answer_slot`, in nats; -inf where the answer surely goes on behind the gold
    tokens."""
    used = block.slot.used[:, None, :]
    joint = np.where(used, slot_logprob(block), 0.0).sum(axis=2)

    ends = 1.0 - continuation(block)
    ends = np.where(ends < 0, 0.0, ends)  # 1 - (1 + rounding) is no log
    with np.errstate(divide="ignore"):
        end = np.log(ends)

    defined = (block.slot_status == 0)[:, None]
    return block.at_performed(np.where(defined, joint + end, np.nan))


def slot_logprob(block: Block) -> np.ndarray:
    """[N, T, A] log p of each gold token at its place in the slot, nats, frozen at its commit; it
    means nothing where `block.slot.used` is False."""
    position = block.slot.position
    rows = np.arange(len(position))[:, None, None]
    steps = np.arange(block.n_steps)[None, :, None]
    tokens = np.arange(position.shape[1])[None, None, :]
    values = block.variable("answer_logprob")[rows, steps, position[:, None, :], tokens]
    return frozen(values.astype(np.float64), block.freeze_step[rows[:, :, 0], position])


def _probability(block: Block) -> tuple[np.ndarray, np.ndarray]:
    """p [N, T, P, A] and which of them [N, T or 1, P or 1, A] are of gold tokens, at positions that
    the pass read."""
    valid = (block.variable("answer_token_id") >= 0)[:, None, None, :]
    logprob = block.variable("answer_logprob")
    if block.opened is not None:
        valid = valid & ~np.isnan(logprob)
    return np.exp(logprob), valid


def _n_read(block: Block) -> np.ndarray | int:
    """Positions of which a step has a value, [N, T] where that differs."""
    if block.opened is None:
        return block.n_positions
    is_read = (~np.isnan(block.variable("answer_logprob"))).any(axis=3)
    return np.asarray(is_read.sum(axis=2))


def _with_gold(values: np.ndarray, valid: np.ndarray) -> np.ndarray:
    return np.where(valid.any(axis=(2, 3)), values, np.nan)
