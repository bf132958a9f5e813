"""Whether the text goes on behind the answer slot.

The slot begins at `answer_start` and is as long as the gold answer (`Block.slot`). Gold `5` is not
confirmed by `52`: the position behind the slot must not go on with the answer, and what is known of
that is `continuation`. Letters as in `block.py`.
"""

from __future__ import annotations

import numpy as np

from .block import Block, frozen


def goes_on(block: Block, token: np.ndarray) -> np.ndarray:
    """[N, ...] bool: would `token` [N, ...] at the position behind the slot make the answer longer.

    A token does if its text begins with a digit and the gold answer ends in one, or if it is the
    very token with which the extracted answer goes on there.
    """
    behind = block.slot.behind
    shape = (-1, *([1] * (token.ndim - 1)))
    numeric = np.isin(_last_gold_token(block), block.digits).reshape(shape)
    follows = _follower(block).reshape(shape)
    inside = (behind < block.n_positions).reshape(shape)

    longer = (np.isin(token, block.digits) & numeric) | (token == follows)
    return np.asarray(longer & inside & (token >= 0))


def continuation(block: Block) -> np.ndarray:
    """[N, T] recorded probability that the position behind the slot goes on with the answer; 0 at
    the canvas's end.

    Summed over the recorded top k, or that of the most probable token alone where no top k was
    recorded: a lower bound. Frozen when the position commits.
    """
    position = np.minimum(block.slot.behind, max(block.n_positions - 1, 0))
    ids, logprob = _candidates(block, position)

    mass = np.where(goes_on(block, ids), np.exp(logprob), 0.0).sum(axis=2)
    rows = np.arange(len(position))
    return frozen(mass[..., None], block.commit_step[rows, position][:, None])[..., 0]


def _last_gold_token(block: Block) -> np.ndarray:
    """[N] id, -1 where there is no gold answer."""
    gold = block.variable("answer_token_id")
    if not gold.shape[1]:
        return np.full(len(gold), -1)
    return np.asarray(gold[np.arange(len(gold)), np.maximum(block.gold_length - 1, 0)])


def _follower(block: Block) -> np.ndarray:
    """[N] the token with which the extracted answer goes on behind the slot, -1 where it ends
    before."""
    canvas = block.variable("token")
    behind = block.slot.behind
    places = block.n_positions
    if not canvas.shape[1] or not places:
        return np.full(len(canvas), -1)
    inside = (behind < block.variable("answer_end")) & (behind < places)
    final = canvas[np.arange(len(canvas)), -1, np.minimum(behind, places - 1)]
    return np.where(inside, final, -1)


def _candidates(block: Block, position: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Recorded ids and their log-probabilities, nats, at one `position` [N] a problem, both [N, T,
    k]."""
    rows = np.arange(len(position))
    if "topk_id" not in block.variables:
        ids = block.variable("prediction")[rows, :, position][..., None]
        logprob = block.variable("logprob")[rows, :, position][..., None]
        return ids, logprob.astype(np.float64)
    ids = block.variable("topk_id")[rows, :, position]
    logit = block.variable("topk_logit")[rows, :, position].astype(np.float64)
    return ids, logit - block.variable("logsumexp")[rows, :, position][..., None]
