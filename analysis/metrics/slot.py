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
    other_axes = [1] * (token.ndim - 1)
    shape = (-1, *other_axes)
    gold_is_number = np.isin(_last_gold_token(block), block.digits).reshape(shape)
    follower = _follower(block).reshape(shape)
    is_inside = (block.slot.behind < block.n_positions).reshape(shape)

    is_digit = np.isin(token, block.digits)
    is_longer = (is_digit & gold_is_number) | (token == follower)
    is_token = token >= 0
    return np.asarray(is_longer & is_inside & is_token)


def continuation(block: Block) -> np.ndarray:
    """[N, T] recorded probability that the position behind the slot goes on with the answer; 0 at
    the canvas's end, NaN before that position is open.

    Summed over the recorded top k, or that of the most probable token alone where no top k was
    recorded: a lower bound. Frozen when the position commits.
    """
    last = max(block.n_positions - 1, 0)
    position = np.minimum(block.slot.behind, last)
    ids, logprob = _candidates(block, position)

    is_longer = goes_on(block, ids)
    probability = np.where(is_longer, np.exp(logprob), 0.0)
    mass = probability.sum(axis=2)

    rows = np.arange(len(position))
    freeze_step = block.freeze_step[rows, position]
    kept = frozen(mass[..., None], freeze_step[:, None])
    return np.where(block.held_back(behind_slot(block)), np.nan, kept[..., 0])


def behind_slot(block: Block) -> np.ndarray:
    """[N, P] bool: the one position behind the slot, none at the canvas's end."""
    return np.asarray(np.arange(block.n_positions) == block.slot.behind[:, None])


def slot_held_back(block: Block) -> np.ndarray:
    """[N, T] bool: a position of the slot, or the one behind it, is of a block that is opened
    later, so that there is no guess yet."""
    inside = behind_slot(block)
    rows, tokens = np.nonzero(block.slot.used)
    inside[rows, block.slot.position[rows, tokens]] = True
    defined = (block.slot_status == 0)[:, None]
    return block.held_back(inside & defined)


def _last_gold_token(block: Block) -> np.ndarray:
    """[N] id, -1 where there is no gold answer."""
    gold = block.variable("answer_token_id")
    if not gold.shape[1]:
        return np.full(len(gold), -1)
    rows = np.arange(len(gold))
    last = np.maximum(block.gold_length - 1, 0)
    return np.asarray(gold[rows, last])


def _follower(block: Block) -> np.ndarray:
    """[N] the token with which the extracted answer goes on behind the slot, -1 where it ends
    before."""
    canvas = block.variable("token")
    behind = block.slot.behind
    places = block.n_positions
    if not canvas.shape[1] or not places:
        return np.full(len(canvas), -1)
    end = np.minimum(block.variable("answer_end"), places)
    is_inside = behind < end
    rows = np.arange(len(canvas))
    position = np.minimum(behind, places - 1)
    final = canvas[rows, -1, position]
    return np.where(is_inside, final, -1)


def _candidates(block: Block, position: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Recorded ids and their log-probabilities, nats, at one `position` [N] a problem, both [N, T,
    k]."""
    rows = np.arange(len(position))

    def at_position(name: str) -> np.ndarray:
        return np.asarray(block.variable(name)[rows, :, position])

    if "topk_id" not in block.variables:
        prediction = at_position("prediction")
        logprob = at_position("logprob").astype(np.float64)
        return prediction[..., None], logprob[..., None]

    logit = at_position("topk_logit").astype(np.float64)
    logsumexp = at_position("logsumexp")
    return at_position("topk_id"), logit - logsumexp[..., None]
