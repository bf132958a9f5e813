"""Where the answer stands: positions, the model's guess there, and whether the text goes on behind
it.

The slot begins at `answer_start` and is as long as the gold answer. Gold `5` is not confirmed by
`52`: the position behind the slot must not go on with the answer, and what is known of that is
`continuation`. Knows nothing of means. Letters as in `block.py`; S is the number of positions asked
for.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from .block import Block, frozen

SLOT_STATUS = ("defined", "no_gold_answer", "no_answer_extracted", "does_not_fit")
"""Why the answer slot of a problem is undefined: meaning of the values of `slot_status`."""


class Slot(NamedTuple):
    """`position` [N, A], 0 where not `used`; `behind` [N] the position after the gold tokens, P at
    the canvas's end."""

    used: np.ndarray
    position: np.ndarray
    behind: np.ndarray


def slot_status(block: Block) -> np.ndarray:
    """[N] uint8 index into `SLOT_STATUS`."""
    length = gold_length(block)
    start = np.asarray(block.variables["answer_start"])
    fits = start + length <= block.commit_step.shape[1]
    return np.select([length == 0, start < 0, ~fits], [1, 2, 3], 0).astype(np.uint8)


def gold_slot(block: Block) -> Slot:
    """The positions of the gold tokens, from `answer_start` on."""
    tokens = np.asarray(block.variables["answer_token_id"]) >= 0
    defined = slot_status(block) == 0
    start = np.asarray(block.variables["answer_start"])
    used = tokens & defined[:, None]
    position = np.where(used, start[:, None] + np.arange(tokens.shape[1]), 0)
    behind = np.where(defined, start + gold_length(block), block.commit_step.shape[1])
    return Slot(used, position, behind)


def extracted(block: Block) -> np.ndarray:
    """[N, P] bool: the positions of the extracted answer."""
    positions = np.arange(block.commit_step.shape[1])
    start, end = (
        np.asarray(block.variables[name])[:, None] for name in ("answer_start", "answer_end")
    )
    return (positions >= start) & (positions < end) & (start >= 0)


def guess(block: Block) -> np.ndarray:
    """[N, T, P] the token at each position if decoding stopped here: committed, else the most
    probable one."""
    steps = np.arange(block.performed.shape[1])
    done = steps[None, :, None] >= block.commit_step[:, None, :]
    return np.where(
        done, np.asarray(block.variables["token"]), np.asarray(block.variables["prediction"])
    )


def goes_on(block: Block, token: np.ndarray, slot: Slot) -> np.ndarray:
    """[N, ...] bool: would `token` [N, ...] at the position behind the slot make the answer longer.

    A token does if its text begins with a digit and the gold answer ends in one, or if it is the
    very token with which the extracted answer goes on there.
    """
    gold = np.asarray(block.variables["answer_token_id"])
    rows = np.arange(len(gold))
    last = (
        gold[rows, np.maximum(gold_length(block) - 1, 0)]
        if gold.shape[1]
        else np.full(len(gold), -1)
    )
    numeric = np.isin(last, block.digits)
    places = block.commit_step.shape[1]
    inside = (slot.behind < np.asarray(block.variables["answer_end"])) & (slot.behind < places)
    canvas = np.asarray(block.variables["token"])
    final = (
        canvas[rows, -1, np.minimum(slot.behind, places - 1)]
        if canvas.shape[1] and places
        else last
    )
    follows = np.where(inside, final, -1)
    shape = (-1, *([1] * (token.ndim - 1)))
    longer = (np.isin(token, block.digits) & numeric.reshape(shape)) | (
        token == follows.reshape(shape)
    )
    return longer & (slot.behind < places).reshape(shape) & (token >= 0)


def continuation(block: Block, slot: Slot) -> np.ndarray:
    """[N, T] recorded probability that the position behind the slot goes on with the answer; 0 at
    the canvas's end.

    Summed over the recorded top k, or that of the most probable token alone where no top k was
    recorded: a lower bound. Frozen when the position commits.
    """
    rows = np.arange(len(slot.behind))
    at = np.minimum(slot.behind, max(block.commit_step.shape[1] - 1, 0))
    variables = block.variables
    if "topk_id" in variables:
        ids = np.asarray(variables["topk_id"])[rows, :, at]  # [N, T, k]
        logit = np.asarray(variables["topk_logit"])[rows, :, at].astype(np.float64)
        logprob = logit - np.asarray(variables["logsumexp"])[rows, :, at][..., None]
    else:
        ids = np.asarray(variables["prediction"])[rows, :, at][..., None]
        logprob = np.asarray(variables["logprob"])[rows, :, at][..., None].astype(np.float64)
    mass = np.where(goes_on(block, ids, slot), np.exp(logprob), 0.0).sum(axis=2)
    kept = frozen(mass[..., None], block.commit_step[rows, at][:, None])[..., 0]
    return np.where((slot.behind < block.commit_step.shape[1])[:, None], kept, 0.0)


def gold_length(block: Block) -> np.ndarray:
    """[N] number of gold answer tokens."""
    return (np.asarray(block.variables["answer_token_id"]) >= 0).sum(axis=1)
