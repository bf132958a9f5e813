"""How sure the model is of its own answer, right or wrong: no metric here looks at the gold answer.

Those at the answer's place take the positions of the extracted answer, which are known only
afterwards; `canvas` ones need no place. Letters as in `block.py`.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from .block import Block, frozen
from .metric import NO_ANSWER, NO_POSITION, Metric

_VARIABLES = ("logprob", "margin", "kl", "answer_start", "answer_end")


def confidence(block: Block) -> np.ndarray:
    """[N, T] joint probability of the most probable tokens at the extracted answer, frozen at
    commit; no gold used."""
    return np.asarray(np.exp(_over_answer(block, "logprob", np.sum)))


CONFIDENCE = Metric(
    confidence,
    units="probability",
    label="joint probability of the best guess at the extracted answer",
    variables=_VARIABLES,
    missing=NO_ANSWER,
    kept=True,
)


def lowest_confidence(block: Block) -> np.ndarray:
    """[N, T] the smallest probability of a most probable token among the extracted answer's
    positions."""
    return np.asarray(np.exp(_over_answer(block, "logprob", np.min)))


LOWEST_CONFIDENCE = Metric(
    lowest_confidence,
    units="probability",
    label="lowest probability of a best guess at the extracted answer",
    variables=_VARIABLES,
    missing=NO_ANSWER,
    kept=True,
)


def margin(block: Block) -> np.ndarray:
    """[N, T] mean gap between largest and second logit over the extracted answer's positions,
    frozen at commit."""
    return _over_answer(block, "margin", np.mean)


MARGIN = Metric(
    margin,
    units="nats",
    label="gap between largest and second logit, mean over the extracted answer",
    variables=_VARIABLES,
    missing=NO_ANSWER,
    kept=True,
)


def largest_kl(block: Block) -> np.ndarray:
    """[N, T] largest KL(p_t || p_t-1) among the extracted answer's positions that are still masked;
    0 if none is."""
    inside = block.extracted[:, None, :] & block.masked
    kl = block.variable("kl").astype(np.float64)
    largest = np.where(inside, kl, 0.0).max(axis=2, initial=0.0)
    defined = block.has_answer[:, None] & ~block.held_back(block.extracted)
    return block.at_performed(np.where(defined, largest, np.nan))


LARGEST_KL = Metric(
    largest_kl,
    units="bits",
    label="largest KL to the step before at the answer's masked positions",
    variables=_VARIABLES,
    missing=NO_ANSWER,
)


def canvas_lowest_confidence(block: Block) -> np.ndarray:
    """[N, T] the smallest probability of a most probable token among all masked positions; NaN if
    none is masked."""
    logprob = block.variable("logprob").astype(np.float64)
    lowest = np.where(block.masked, logprob, np.inf).min(axis=2, initial=np.inf)
    none = np.isposinf(lowest)
    return block.at_performed(np.where(none, np.nan, np.exp(np.where(none, 0, lowest))))


CANVAS_LOWEST_CONFIDENCE = Metric(
    canvas_lowest_confidence,
    units="probability",
    label="lowest probability of a best guess, masked positions",
    variables=_VARIABLES,
    missing=NO_POSITION,
)


def _over_answer(block: Block, name: str, reduce: Callable[..., np.ndarray]) -> np.ndarray:
    """[N, T] `reduce` of a variable over the extracted answer's positions, frozen at commit."""
    values = frozen(block.variable(name).astype(np.float64), block.freeze_step)
    reduced = np.full(block.performed.shape, np.nan)
    for row in np.flatnonzero(block.has_answer):
        inside = values[row][:, block.extracted[row]]
        reduced[row] = reduce(inside, axis=1)
    return block.at_performed(reduced)
