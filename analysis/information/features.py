"""What the estimators are given of a run: features of each problem and step, none of which knows
the gold answer.

`belief`: how sure the model is at its own answer slot (where the extracted answer stands), frozen
at each commit. `summary`: mean, standard deviation and maximum of the logits over all positions and
tokens, and the mean entropy. `state`: the final hidden state, mean over the answer slot, frozen
when the slot's last position commits. The slot is found from the end, so its place is known at
every step. Letters as in `block.py`. Knows no estimator.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import numpy as np

from ..metrics.block import Block, frozen, mean_where, read_block

if TYPE_CHECKING:
    from ...engine.store import Run

BELIEF = ("logprob_slot", "entropy_slot", "margin_slot")
SUMMARY = ("logit_mean", "logit_std", "logit_max", "entropy_mean")
NARROW = ("logprob", "entropy", "margin", "logsumexp", "logit_mean", "logit_std")
STATE_BYTES = 256 * 2**20
"""Hidden states that are held in memory at a time."""

BLOCK_PROBLEMS = 64


def narrow_features(run: Run) -> dict[str, np.ndarray]:
    """`belief` [problem, step, 3] and `summary` [problem, step, 4], float64, NaN where undefined or
    not performed."""
    found: dict[str, np.ndarray] = {}
    names = [*NARROW, *_COMMON]
    for part in run.blocks(names, max_problems=BLOCK_PROBLEMS):
        block = read_block(part)
        rows = part["row"]
        for name, values in (("belief", belief(block)), ("summary", summary(block))):
            whole = found.setdefault(name, np.full((len(run.ids), *values.shape[1:]), np.nan))
            whole[rows] = values
    return found


def states(run: Run, steps: np.ndarray) -> Iterator[tuple[int, np.ndarray]]:
    """(step, [problem, feature] float32) for each of `steps`, read in as few passes as memory
    allows."""
    width = int(run["state_answer"].shape[2])
    at_a_time = max(1, STATE_BYTES // (4 * len(run.ids) * width))
    for start in range(0, len(steps), at_a_time):
        chosen = steps[start : start + at_a_time]
        held = np.full((len(chosen), len(run.ids), width), np.nan, np.float32)
        for part in run.blocks(["state_answer", *_COMMON], max_problems=BLOCK_PROBLEMS):
            held[:, part["row"]] = state(read_block(part), chosen).transpose(1, 0, 2)
        yield from zip((int(step) for step in chosen), held, strict=True)


_COMMON = ("performed", "committed", "answer_start", "answer_end")


def belief(block: Block) -> np.ndarray:
    """[N, T, 3] over the slot: sum of the best tokens' log-probability, mean entropy, least
    margin."""
    position, inside = _slot(block)
    rows = np.arange(len(position))[:, None, None]
    steps = np.arange(block.performed.shape[1])[None, :, None]
    commit = np.take_along_axis(block.commit_step, position, axis=1)
    at = {
        name: frozen(_wide(block.variables[name])[rows, steps, position[:, None, :]], commit)
        for name in ("logprob", "entropy", "margin")
    }
    used = inside[:, None, :]
    parts = (
        np.where(used, at["logprob"], 0.0).sum(axis=2),
        mean_where(at["entropy"], used),
        np.where(used, at["margin"], np.inf).min(axis=2, initial=np.inf),
    )
    defined = inside.any(axis=1, keepdims=True)
    return np.stack([block.at_performed(np.where(defined, part, np.nan)) for part in parts], axis=2)


def summary(block: Block) -> np.ndarray:
    """[N, T, 4] exact over positions and tokens: the variance over all is the mean of within and
    between positions."""
    mean = _wide(block.variables["logit_mean"])
    std = _wide(block.variables["logit_std"])
    whole = mean.mean(axis=2)
    variance = (std**2).mean(axis=2) + mean.var(axis=2)
    best = (_wide(block.variables["logprob"]) + block.variables["logsumexp"]).max(axis=2)
    parts = (whole, np.sqrt(variance), best, _wide(block.variables["entropy"]).mean(axis=2))
    return np.stack([block.at_performed(part) for part in parts], axis=2)


def state(block: Block, steps: np.ndarray) -> np.ndarray:
    """[N, chosen steps, feature] float32; NaN for a problem without an answer slot and at steps not
    performed."""
    position, inside = _slot(block)
    commit = np.where(inside, np.take_along_axis(block.commit_step, position, axis=1), -1).max(
        axis=1, initial=-1
    )
    source = np.minimum(steps[None, :], np.maximum(commit, 0)[:, None])
    values = np.asarray(block.variables["state_answer"], np.float32)[
        np.arange(len(source))[:, None], source
    ]
    known = inside.any(axis=1, keepdims=True) & block.performed[:, steps]
    return np.where(known[:, :, None], values, np.float32("nan"))


def _slot(block: Block) -> tuple[np.ndarray, np.ndarray]:
    """([N, S] positions of the extracted answer, [N, S] whether there is one), S the longest
    answer."""
    start, end = (
        np.asarray(block.variables[name])[:, None] for name in ("answer_start", "answer_end")
    )
    length = np.where(start >= 0, end - start, 0)
    offset = np.arange(max(1, int(length.max(initial=1))))
    inside = offset < length
    return np.where(inside, start + offset, 0), inside


def _wide(values: np.ndarray) -> np.ndarray:
    return np.asarray(values, np.float64)
