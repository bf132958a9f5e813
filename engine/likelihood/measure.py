"""How probable a model finds given answer tokens: by one forward, exactly in a fixed order, or
bounded from below.

The canvas is any canvas, prompt and generated tokens; the answer's positions in it are overwritten
by masks. Three numbers of the same answer, in nats: the factorised log-probability of one forward;
the exact log-likelihood under the deterministic order "surest position first", L forwards (DUEL,
arXiv 2603.01367); and LLaDA's Monte Carlo bound (arXiv 2502.09992, its `get_log_likelihood`). The
distribution is the softmax over all candidate tokens, the mask excluded. Knows nothing of where the
answer stands, nor of grading.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from ..models.attention import packing_of
from ..models.loading import MaskedDiffusionModel

ROWS_AT_ONCE = 32


class Bound(NamedTuple):
    """A Monte Carlo estimate in nats and its standard error over the draws (NaN for one draw)."""

    nats: float
    stderr: float
    draws: int


def factorised_logprob(
    model: MaskedDiffusionModel, canvas: Tensor, positions: list[int], answer: list[int]
) -> float:
    """Sum over j of log p(answer[j] at positions[j]) with all of them masked: one forward.

    `canvas` [length] token ids; ValueError for lists of unlike length or positions outside of the
    canvas.
    """
    masked = _masked(model, canvas, positions, answer)
    return float(_at(model, masked[None], positions)[0].gather(1, _column(answer, canvas)).sum())


def sequential_logprob(
    model: MaskedDiffusionModel, canvas: Tensor, positions: list[int], answer: list[int]
) -> float:
    """Exact log-likelihood of `answer` under the order "surest position first", ties to the lowest
    position.

    Each forward fills one position with the answer's token; the order depends on the canvas alone,
    so that the probabilities of all answers of this length sum to 1.
    """
    masked = _masked(model, canvas, positions, answer)
    left = list(range(len(positions)))
    total = 0.0
    while left:
        logprob = _at(model, masked[None], [positions[j] for j in left])[0]
        first = int(logprob.max(dim=1).values.argmax())
        j = left.pop(first)
        total += float(logprob[first, answer[j]])
        masked[positions[j]] = answer[j]
    return total


def likelihood_bound(
    model: MaskedDiffusionModel,
    canvas: Tensor,
    positions: list[int],
    answer: list[int],
    *,
    draws: int = 128,
    seed: int = 0,
) -> Bound:
    """Mean over draws of (L / l) sum of log p over l masked positions, l uniform on 1..L, the
    positions at random.

    Its expectation is a lower bound of log p(answer | canvas), averaged over orders of unmasking.
    """
    masked = _masked(model, canvas, positions, answer)
    length = len(positions)
    generator = torch.Generator().manual_seed(seed)
    counts = torch.randint(1, length + 1, (draws,), generator=generator)
    ranks = torch.rand(draws, length, generator=generator).argsort(dim=1).argsort(dim=1)
    hide = (ranks < counts[:, None]).to(canvas.device)
    filled = masked[None].repeat(draws, 1)
    filled[:, positions] = torch.where(
        hide, filled[:, positions], torch.tensor(answer, device=canvas.device)
    )
    found = torch.cat([_at(model, rows, positions) for rows in filled.split(ROWS_AT_ONCE)])
    gold = found.gather(2, _column(answer, canvas)[None].expand(draws, -1, -1)).squeeze(2)
    values = torch.where(hide, gold, 0.0).sum(dim=1) * length / counts.to(canvas.device)
    stderr = float(values.std() / draws**0.5) if draws > 1 else float("nan")
    return Bound(float(values.mean()), stderr, draws)


def posterior(logprobs: list[float]) -> list[float]:
    """Probabilities of candidate answers (gold first, then distractors) given that it is one of
    them."""
    return torch.tensor(logprobs, dtype=torch.float64).softmax(0).tolist()


def _masked(
    model: MaskedDiffusionModel, canvas: Tensor, positions: list[int], answer: list[int]
) -> Tensor:
    if (
        len(positions) != len(answer)
        or not positions
        or not all(0 <= at < len(canvas) for at in positions)
    ):
        raise ValueError(
            f"{len(answer)} answer tokens at positions {positions} of a canvas of {len(canvas)}; "
            "expected one position inside of the canvas for each token, and at least one"
        )
    masked = canvas.clone()
    masked[positions] = model.token_ids.mask
    return masked


@torch.inference_mode()
def _at(model: MaskedDiffusionModel, canvases: Tensor, positions: list[int]) -> Tensor:
    """[rows, positions, V] float64 log-probabilities over candidates; -inf for the mask and padding
    rows."""
    rows, length = canvases.shape
    place = torch.arange(length, device=canvases.device).repeat(rows)
    hidden = model.hidden(canvases.flatten(), place, packing_of([length] * rows, canvases.device))
    logits = (hidden.view(rows, length, -1)[:, positions] @ model.head_weight.T).double()
    logits[..., model.n_candidates :] = -torch.inf
    logits[..., model.token_ids.mask] = -torch.inf
    return logits.log_softmax(-1)


def _column(answer: list[int], canvas: Tensor) -> Tensor:
    return torch.tensor(answer, device=canvas.device)[:, None]
