"""When the answer emerges: first and last time that the model's guess at the answer's place is
right, and what moves.

A *guess* is the token that a position would get if decoding stopped at this step: committed, or the
most probable one. First hits count guesses that are given up again; stable hits do not. All
problems with a gold answer count, also those answered wrongly: looking at the finally correct ones
alone selects on the outcome (DESIGN, research/analysis.md 8). The place is known only afterwards.
Letters as in `block.py`.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from ..findings.accuracy import CORRECT, NO_GOLD_ANSWER
from ..means import Mean, mean_over_problems
from ..results import Quantity
from ..shares import share
from .block import Block, frozen
from .slot import extracted, goes_on, gold_length, gold_slot, guess, slot_status

NEVER = -1
SHARES = (25, 50)
"""Percent of the steps by which the table counts hits."""
MISSING = "no problem has a value"


class Events(NamedTuple):
    """[N] per problem; steps are -1 where it never happens. NaN in the floats where undefined."""

    first_hit_step: np.ndarray
    stable_hit_step: np.ndarray
    settled_step: np.ndarray
    hits_lost: np.ndarray
    guess_changes: np.ndarray
    commit_order: np.ndarray
    commit_order_in_block: np.ndarray


class Row(NamedTuple):
    """One number of the table for each problem [N], NaN where it has none."""

    values: np.ndarray
    units: str
    label: str


def hit(block: Block) -> np.ndarray:
    """[N, T] 1 where the guess at the slot is exactly the gold answer, else 0; NaN without a gold
    answer.

    0 also where no answer was extracted or gold does not fit: then the finished text has no such
    place.
    """
    right = _right(block)
    return block.at_performed(
        np.where((gold_length(block) > 0)[:, None], right.astype(np.float64), np.nan)
    )


def first_hit(block: Block) -> np.ndarray:
    """[N, T] 1 from the first hit on (whether or not it lasts), 0 before; the mean is a
    distribution function."""
    return np.maximum.accumulate(np.nan_to_num(hit(block)), axis=1) + 0.0 * hit(block)


def stable_hit(block: Block) -> np.ndarray:
    """[N, T] 1 where this and every later guess is the gold answer, else 0."""
    return _lasting(hit(block))


def final_guess(block: Block) -> np.ndarray:
    """[N, T] 1 where the guess at the extracted answer's positions is what finally stands there;
    NaN without one."""
    inside = extracted(block)
    same = (guess(block) == _final(block)[:, None, :]) | ~inside[:, None, :]
    return block.at_performed(
        np.where(_has_answer(block)[:, None], same.all(axis=2).astype(np.float64), np.nan)
    )


def settled(block: Block) -> np.ndarray:
    """[N, T] 1 from the step on from which that guess does not change any more, right or wrong."""
    return _lasting(final_guess(block))


def confidence(block: Block) -> np.ndarray:
    """[N, T] joint probability of the most probable tokens at the extracted answer, frozen at
    commit; no gold used."""
    return np.exp(_over_answer(block, "logprob", np.sum))


def lowest_confidence(block: Block) -> np.ndarray:
    """[N, T] the smallest probability of a most probable token among the extracted answer's
    positions."""
    return np.exp(_over_answer(block, "logprob", np.min))


def margin(block: Block) -> np.ndarray:
    """[N, T] mean gap between largest and second logit over the extracted answer's positions,
    frozen at commit."""
    return _over_answer(block, "margin", np.mean)


def largest_kl(block: Block) -> np.ndarray:
    """[N, T] largest KL(p_t || p_t-1) among the extracted answer's positions that are still masked;
    0 if none is."""
    inside = extracted(block)[:, None, :] & block.masked
    values = np.where(inside, np.asarray(block.variables["kl"], np.float64), 0.0).max(
        axis=2, initial=0.0
    )
    return block.at_performed(np.where(_has_answer(block)[:, None], values, np.nan))


def canvas_lowest_confidence(block: Block) -> np.ndarray:
    """[N, T] the smallest probability of a most probable token among all masked positions; NaN if
    none is masked."""
    logprob = np.where(block.masked, np.asarray(block.variables["logprob"], np.float64), np.inf)
    lowest = logprob.min(axis=2, initial=np.inf)
    return block.at_performed(
        np.where(np.isposinf(lowest), np.nan, np.exp(np.where(np.isposinf(lowest), 0, lowest)))
    )


def events(block: Block, *, block_length: int) -> Events:
    """What happened when, for each problem."""
    found = hit(block)
    final = final_guess(block)
    changes = guess(block)[:, 1:] != guess(block)[:, :-1]
    changed = (changes & extracted(block)[:, None, :]).any(axis=2).sum(axis=1).astype(np.float64)
    known = np.nan_to_num(_carried(found))
    order, in_block = _commit_order(block.commit_step, block_length)
    return Events(
        _first(found),
        _first(stable_hit(block)),
        _first(_lasting(final)),
        np.where(
            gold_length(block) > 0, ((known[:, :-1] == 1) & (known[:, 1:] == 0)).sum(axis=1), np.nan
        ),
        np.where(_has_answer(block), changed, np.nan),
        order,
        in_block,
    )


def emergence_values(columns: dict[str, np.ndarray], steps: int) -> dict[str, Row]:
    """The numbers of `emergence_table` for each problem, from the problems' columns (`Events`,
    `verdict`).

    Shares are of all problems with a gold answer; those in `..._correct` of the finally correct
    ones, the selection that Prophet (arXiv 2508.19982) reports, here beside the whole.
    """
    verdict = columns["verdict"]
    graded = verdict != NO_GOLD_ANSWER
    correct = verdict == CORRECT
    first = columns["first_hit_step"]
    stable = columns["stable_hit_step"]
    ever = correct | (first >= 0)
    rows: dict[str, tuple[np.ndarray, str, str]] = {
        "ever_pass": (
            _of(ever, graded),
            "1",
            "EverPass: share right in the end or at any step (MidTruth, 2508.09138)",
        ),
        "pass_lost": (
            _of(ever & ~correct, graded),
            "1",
            "EverPass - Pass: share right at some step, not in the end",
        ),
        "hits_lost": (
            _of(columns["hits_lost"], graded),
            "1",
            "times that a right guess is given up, per problem",
        ),
        "guess_changes": (
            columns["guess_changes"],
            "1",
            "steps at which the guess at the answer's place changes",
        ),
        "settled_step": (
            _known(columns["settled_step"]),
            "steps",
            "step from which on the guess stays, right or wrong",
        ),
        "answer_commit_step": (
            _known(columns["answer_commit_step"]),
            "steps",
            "step that commits the answer's last position",
        ),
        "commit_order": (
            columns["commit_order"],
            "1",
            "rank correlation of commit step and position (Spearman)",
        ),
        "commit_order_in_block": (
            columns["commit_order_in_block"],
            "1",
            "the same within blocks, mean over blocks",
        ),
    }
    for percent in SHARES:
        for name, step in (("first_hit", first), ("stable_hit", stable)):
            by = (step >= 0) & (step + 1 <= percent * steps / 100)
            text = f"share with a {name.replace('_', ' ')} within {percent} % of the steps"
            rows[f"{name}_by_{percent}"] = (_of(by, graded), "1", f"{text}, all graded problems")
            rows[f"{name}_by_{percent}_correct"] = (
                _of(by, correct),
                "1",
                f"{text}, finally correct problems",
            )
    return {name: Row(*row) for name, row in rows.items()}


def emergence_table(columns: dict[str, np.ndarray], steps: int) -> dict[str, Quantity]:
    """`emergence/...` single numbers with error and n, over the problems that have a value
    (`emergence_values`)."""
    return {
        f"emergence/{name}": share(row.values, label=row.label, missing=MISSING)
        if is_share(name)
        else _single(row.values, row.units, row.label)
        for name, row in emergence_values(columns, steps).items()
    }


def is_share(name: str) -> bool:
    """Whether the number `emergence/<name>` is a share of problems; the others are means."""
    return name.startswith(("ever_pass", "pass_lost", "first_hit", "stable_hit"))


def _right(block: Block) -> np.ndarray:
    slot = gold_slot(block)
    gold = np.asarray(block.variables["answer_token_id"])
    tokens = guess(block)
    rows = np.arange(len(gold))
    at_slot = np.take_along_axis(
        tokens, slot.position[:, None, :].repeat(tokens.shape[1], axis=1), axis=2
    )
    same = ((at_slot == gold[:, None, :]) | ~slot.used[:, None, :]).all(axis=2)
    behind = tokens[rows, :, np.minimum(slot.behind, tokens.shape[2] - 1)]
    return same & ~goes_on(block, behind, slot) & (slot_status(block) == 0)[:, None]


def _has_answer(block: Block) -> np.ndarray:
    return np.asarray(extracted(block).any(axis=1))


def _final(block: Block) -> np.ndarray:
    return guess(block)[:, -1]


def _lasting(values: np.ndarray) -> np.ndarray:
    """1 where this and every later value is 1; NaN stays NaN and does not interrupt."""
    known = np.where(np.isnan(values), 1.0, values)
    return np.flip(np.minimum.accumulate(np.flip(known, axis=1), axis=1), axis=1) + 0.0 * values


def _carried(values: np.ndarray) -> np.ndarray:
    """Values with NaN replaced by the latest one before, so that a step that was not performed
    changes nothing."""
    at = np.maximum.accumulate(np.where(np.isnan(values), 0, np.arange(values.shape[1])), axis=1)
    return np.take_along_axis(values, at, axis=1)


def _first(values: np.ndarray) -> np.ndarray:
    seen = values == 1
    return np.where(seen.any(axis=1), seen.argmax(axis=1) if seen.shape[1] else 0, NEVER).astype(
        np.int32
    )


def _over_answer(block: Block, name: str, reduce: Callable[..., np.ndarray]) -> np.ndarray:
    values = frozen(np.asarray(block.variables[name], np.float64), block.commit_step)
    inside = extracted(block)
    found = np.full(block.performed.shape, np.nan)
    for row in np.flatnonzero(inside.any(axis=1)):
        found[row] = reduce(values[row][:, inside[row]], axis=1)
    return block.at_performed(found)


def _commit_order(commit_step: np.ndarray, block_length: int) -> tuple[np.ndarray, np.ndarray]:
    """[N] Spearman correlations; positions never committed count as last. NaN where all commit at
    one step."""
    problems, positions = commit_step.shape
    whole = positions // block_length * block_length
    inner = _spearman(commit_step[:, :whole].reshape(-1, block_length)).reshape(problems, -1)
    return _spearman(commit_step), mean_over_problems(inner.T).mean


def _spearman(commit_step: np.ndarray) -> np.ndarray:
    from scipy.stats import rankdata

    rank = rankdata(commit_step, axis=1) if commit_step.size else np.zeros(commit_step.shape)
    rank = rank - rank.mean(axis=1, keepdims=True) if commit_step.shape[1] else rank
    length = int(commit_step.shape[1])
    place = np.arange(length) - (length - 1) / 2
    with np.errstate(invalid="ignore", divide="ignore"):
        return (rank @ place) / np.sqrt((rank**2).sum(axis=1) * (place**2).sum())


def _of(values: np.ndarray, chosen: np.ndarray) -> np.ndarray:
    return np.where(chosen, values.astype(np.float64), np.nan)


def _known(step: np.ndarray) -> np.ndarray:
    return np.where(step >= 0, step.astype(np.float64), np.nan)


def _single(values: np.ndarray, units: str, label: str) -> Quantity:
    mean: Mean = mean_over_problems(values)
    status = "ok" if mean.n > 0 else f"insufficient: {MISSING}"
    return Quantity(
        np.asarray(mean.mean), (), units, int(mean.n), np.asarray(mean.stderr), status, label
    )
