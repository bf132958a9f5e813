"""How probable a model finds given answer tokens: exactly in a fixed order, or bounded from below.

The canvas is any canvas, prompt and generated tokens; the answer's positions in it are overwritten
by masks. Two numbers of the same answer, in nats: the exact log-likelihood under the deterministic
order "surest position first", L forwards (DUEL, arXiv 2603.01367); and LLaDA's Monte Carlo bound
(arXiv 2502.09992, its `get_log_likelihood`). The distribution is the softmax over all candidate
tokens, the mask excluded.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from ..models.attention import packing_of
from ..models.family import CheckpointError
from ..models.loading import MaskedDiffusionModel
from ..store.counts import count_text

ROWS_AT_ONCE = 32
"""Canvases of one forward pass of the bound."""


class Place(NamedTuple):
    """Where an answer is asked for: `positions` of a canvas [length] of token ids."""

    canvas: Tensor
    positions: list[int]


class Bound(NamedTuple):
    """A Monte Carlo estimate in nats and its standard error over the draws (NaN for one draw)."""

    nats: float
    stderr: float
    draws: int


def sequential_logprob(model: MaskedDiffusionModel, place: Place, answer: list[int]) -> float:
    """Exact log-likelihood of `answer` under the order "surest position first", ties to the lowest
    position.

    Each forward fills one position with the answer's token; the order depends on the canvas alone,
    so that the probabilities of all answers of this length sum to 1. ValueError for an answer that
    does not fit its place.
    """
    canvas = _masked(model, place, answer)
    masked = list(range(len(answer)))
    total = 0.0
    while masked:
        positions = [place.positions[number] for number in masked]
        logprob = _logprobs(model, canvas[None], positions)[0]
        best = logprob.max(dim=1).values
        surest = int(best.argmax())
        token = answer[masked.pop(surest)]
        total += float(logprob[surest, token])
        canvas[positions[surest]] = token
    return total


def likelihood_bound(
    model: MaskedDiffusionModel, place: Place, answer: list[int], *, draws: int = 128, seed: int = 0
) -> Bound:
    """Mean over draws of (L / l) sum of log p over l masked positions, l uniform on 1..L, the
    positions at random.

    Its expectation is a lower bound of log p(answer | canvas), averaged over orders of unmasking.
    ValueError for an answer that does not fit its place.
    """
    canvas = _masked(model, place, answer)
    length = len(answer)
    tokens = torch.tensor(answer, device=canvas.device)
    hidden = _drawn(draws, length, seed=seed).to(canvas.device)

    canvases = canvas[None].repeat(draws, 1)
    masks = canvases[:, place.positions]
    canvases[:, place.positions] = torch.where(hidden, masks, tokens)
    parts = []
    for rows in torch.split(canvases, ROWS_AT_ONCE):
        parts.append(_logprobs(model, rows, place.positions))
    column = tokens[None, :, None].expand(draws, -1, -1)
    gold = torch.cat(parts).gather(2, column).squeeze(2)

    counts = hidden.sum(dim=1)
    sums = torch.where(hidden, gold, 0.0).sum(dim=1)
    values = sums * length / counts
    nats = float(values.mean())
    stderr = float("nan")
    if draws > 1:
        from_first = values - values[0]  # equal values have no spread, not one of rounding
        stderr = float(from_first.std() / draws**0.5)
    return Bound(nats, stderr, draws)


def _drawn(draws: int, length: int, *, seed: int) -> Tensor:
    """Which of `length` positions each draw hides, [draws, length]: one at least, as many as a
    uniform draw says, at random."""
    generator = torch.Generator().manual_seed(seed)
    counts = torch.randint(1, length + 1, (draws,), generator=generator)
    order = torch.rand(draws, length, generator=generator).argsort(dim=1)
    ranks = order.argsort(dim=1)
    return ranks < counts[:, None]


def posterior(logprobs: list[float]) -> list[float]:
    """Probabilities of candidate answers (gold first, then distractors) given that it is one of
    them."""
    shares: list[float] = torch.tensor(logprobs, dtype=torch.float64).softmax(0).tolist()
    return shares


def refuse_blocks(model: MaskedDiffusionModel) -> None:
    """Raise CheckpointError for a model that attends block by block."""
    if model.family.blocks is not None:
        raise CheckpointError(
            f"{model.path}: {model.architecture} attends block by block, and the likelihood of an "
            "answer is taken on a canvas whose tokens all see each other; use a model that attends "
            "fully"
        )


def _masked(model: MaskedDiffusionModel, place: Place, answer: list[int]) -> Tensor:
    """A copy of the canvas with masks at the answer's place."""
    refuse_blocks(model)
    canvas, positions = place
    first = -model.read_offset
    is_complete = len(positions) == len(answer) and len(answer) > 0
    is_inside = all(0 <= position < len(canvas) for position in positions)
    if not is_complete or not is_inside:
        raise ValueError(
            f"{count_text(len(answer), 'answer token')} at positions {positions} of a canvas of "
            f"{len(canvas)}; expected one position inside of the canvas for each token, "
            "and at least one"
        )
    if min(positions) < first:
        raise ValueError(
            f"answer tokens at positions {positions}, and this model's prediction is read {first} "
            f"before its position; expected positions from {first} on"
        )
    masked = canvas.clone()
    masked[positions] = model.token_ids.mask
    return masked


@torch.inference_mode()
def _logprobs(model: MaskedDiffusionModel, canvases: Tensor, positions: list[int]) -> Tensor:
    """[rows, positions, V] float64 log-probabilities over candidates; -inf for the mask and padding
    rows."""
    rows, length = canvases.shape
    rope_positions = torch.arange(length, device=canvases.device).repeat(rows)
    packing = packing_of([length] * rows, canvases.device)
    packed = model.hidden(canvases.flatten(), rope_positions, packing)
    hidden = packed.view(rows, length, -1)

    read_at = [position + model.read_offset for position in positions]
    product = hidden[:, read_at] @ model.head_weight.T
    logits = product.double()
    logits[..., model.n_candidates :] = -torch.inf
    logits[..., model.token_ids.mask] = -torch.inf
    return logits.log_softmax(-1)
