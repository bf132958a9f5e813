"""When the answer emerges: at which steps the model's guess at the answer's place is right, and
stays.

A *guess* is the token that a position would get if decoding stopped at this step: committed, or the
most probable one. First hits count guesses that are given up again; stable hits do not. All
problems with a gold answer count, also those answered wrongly: looking at the finally correct ones
alone selects on the outcome. The place is known only afterwards. Letters as in `block.py`.
"""

from __future__ import annotations

import numpy as np

from .block import Block
from .metric import NO_ANSWER, NO_GOLD, Metric
from .slot import goes_on, slot_held_back

_VARIABLES = ("token", "prediction", "answer_token_id", "answer_start", "answer_end")


def hit(block: Block) -> np.ndarray:
    """[N, T] 1 where the guess at the slot is exactly the gold answer, else 0; NaN without a gold
    answer, and before the slot is open: there is no guess yet.

    0 also where no answer was extracted or gold does not fit: then the finished text has no such
    place.
    """
    return np.where(slot_held_back(block), np.nan, _hit_or_not(block))


def _hit_or_not(block: Block) -> np.ndarray:
    """`hit`, 0 before the slot is open."""
    has_gold = (block.gold_length > 0)[:, None]
    return block.at_performed(np.where(has_gold, _right(block).astype(np.float64), np.nan))


HIT = Metric(
    hit,
    units="1",
    label="share of problems whose guess at the answer's place is the gold answer",
    variables=_VARIABLES,
    missing=NO_GOLD,
    share=True,
    kept=True,
)


def first_hit(block: Block) -> np.ndarray:
    """[N, T] 1 from the first hit on (whether or not it lasts), 0 before; the mean is a
    distribution function, of events: none has happened before the slot is open."""
    hits = _hit_or_not(block)
    undefined = 0.0 * hits
    return np.maximum.accumulate(np.nan_to_num(hits), axis=1) + undefined


FIRST_HIT = Metric(
    first_hit,
    units="1",
    label="share of problems with a first hit by this step, kept or not",
    variables=_VARIABLES,
    missing=NO_GOLD,
    share=True,
    kept=True,
)


def stable_hit(block: Block) -> np.ndarray:
    """[N, T] 1 where this and every later guess is the gold answer, else 0."""
    return lasting(_hit_or_not(block))


STABLE_HIT = Metric(
    stable_hit,
    units="1",
    label="share of problems whose guess is the gold answer from this step to the end",
    variables=_VARIABLES,
    missing=NO_GOLD,
    share=True,
    kept=True,
)


def final_guess(block: Block) -> np.ndarray:
    """[N, T] 1 where the guess at the extracted answer's positions is what finally stands there;
    NaN without one, and before all of them are open."""
    return np.where(block.held_back(block.extracted), np.nan, _final_or_not(block))


def _final_or_not(block: Block) -> np.ndarray:
    """`final_guess`, 0 before all positions are open."""
    final = block.guess[:, -1:]
    outside = ~block.extracted[:, None, :]
    same = ((block.guess == final) | outside).all(axis=2)
    defined = block.has_answer[:, None]
    return block.at_performed(np.where(defined, same.astype(np.float64), np.nan))


FINAL_GUESS = Metric(
    final_guess,
    units="1",
    label="share of problems whose guess is what finally stands there, right or wrong",
    variables=_VARIABLES,
    missing=NO_ANSWER,
    share=True,
    kept=True,
)


def settled(block: Block) -> np.ndarray:
    """[N, T] 1 from the step on from which that guess does not change any more, right or wrong."""
    return lasting(_final_or_not(block))


SETTLED = Metric(
    settled,
    units="1",
    label="share of problems whose guess stays as it is from this step to the end",
    variables=_VARIABLES,
    missing=NO_ANSWER,
    share=True,
    kept=True,
)


def lasting(values: np.ndarray) -> np.ndarray:
    """1 where this and every later value [N, T] is 1; NaN stays NaN and does not interrupt."""
    without_gaps = np.where(np.isnan(values), 1.0, values)
    from_the_end = np.flip(without_gaps, axis=1)
    lowest_later = np.flip(np.minimum.accumulate(from_the_end, axis=1), axis=1)
    undefined = 0.0 * values
    return lowest_later + undefined


def _right(block: Block) -> np.ndarray:
    """[N, T] bool: the guesses at the slot are the gold tokens and nothing goes on behind them."""
    slot = block.slot
    guess = block.guess
    problems, steps, positions = guess.shape

    place = slot.position[:, None, :].repeat(steps, axis=1)
    inside = np.take_along_axis(guess, place, axis=2)
    gold = block.variable("answer_token_id")[:, None, :]
    same = ((inside == gold) | ~slot.used[:, None, :]).all(axis=2)

    behind = guess[np.arange(problems), :, np.minimum(slot.behind, positions - 1)]
    defined = (block.slot_status == 0)[:, None]
    right = same & ~goes_on(block, behind) & defined
    return np.asarray(right & ~slot_held_back(block))
