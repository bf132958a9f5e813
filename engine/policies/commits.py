"""Parts that policies share: how many positions to commit, and which. Shapes: B rows, G generated
positions."""

from __future__ import annotations

import torch
from torch import Tensor

from ..decoding.canvas import Canvas


def transfer_counts(n_masked: int, steps: int) -> list[int]:
    """How many of `n_masked` positions each of `steps` steps commits: an even split, the remainder
    first."""
    base, extra = divmod(n_masked, steps)
    return [base + (i < extra) for i in range(steps)]


def highest(score: Tensor, counts: list[int], canvas: Canvas) -> Tensor:
    """The `counts` highest scores of each row [B, G], ties to the lowest position."""
    return rank_of(score) < canvas.on_device(counts)[:, None]


def rank_of(score: Tensor) -> Tensor:
    """The rank [B, G] of each score in its row, from 0 for the highest, ties to the lowest
    position."""
    order = by_rank(score)
    places = torch.arange(score.shape[1], device=score.device).expand_as(order)
    return torch.empty_like(order).scatter_(-1, order, places)


def by_rank(score: Tensor) -> Tensor:
    """The positions [B, G] of each row by falling score, those of equal scores ascending."""
    return score.argsort(dim=-1, descending=True, stable=True)


def topk_of_whole_rows(score: Tensor, counts: list[int], canvas: Canvas) -> Tensor:
    """The same as published code has it: by torch.topk, which orders ties by its own rules, that
    depend on the whole row: so the whole row it gets, with the prompt."""
    chosen = []
    for row, count in enumerate(counts):
        prompt = score.new_full((canvas.prompt_lengths[row],), -torch.inf)
        whole = torch.cat([prompt, score[row]])
        picked = torch.zeros_like(whole, dtype=torch.bool).index_fill_(
            0, whole.topk(count).indices, True
        )
        chosen.append(picked[len(prompt) :])
    return torch.stack(chosen)
