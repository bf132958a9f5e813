"""The distribution that a token is drawn from: temperature, top-p and top-k over the tokens that
may be proposed; and how sure a position is under it.

In plain torch, for the CPU and a GPU alike, a few rows at a time: sorting them needs several times
their memory. Nothing here waits for the device. Shapes: N rows, V vocabulary.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from .distribution import widen
from .reference import BLOCK, candidates_only

BLOCK_ON_GPU = 1 << 24
"""Logits worked on at a time there: 64 MiB of float32, and the sort's indices twice that."""

SCORES = ("probability", "margin", "entropy")


@dataclass(frozen=True)
class Shaping:
    """What is left of the distribution when it has been divided by the temperature, and what makes
    a position sure.

    `top_p`: the most probable tokens, up to and with the first that brings their mass above it; 1:
    all. `top_k`: the tokens whose logit is at least the k-th largest; 0: all. `top_k_first`: top-p
    acts on what top-k left, else the other way round.

    `score`: "probability" of the proposed token, "margin" of the two largest probabilities, or
    "entropy", sum p log(p + `log_offset`), which is minus the entropy in nats.
    """

    top_p: float = 1.0
    top_k: int = 0
    top_k_first: bool = False
    score: str = "probability"
    log_offset: float = 0.0

    @property
    def cuts(self) -> bool:
        """Whether any token is cut off."""
        return self.top_p < 1 or self.top_k > 0


@dataclass(frozen=True)
class Draw:
    """How the distribution is made of logits: divided by `temperature` (0: as they are), tokens
    that may not be proposed left out. `literal`: in the logits' own dtype, tokens in the order of
    torch's sort."""

    temperature: float = 0.0
    exclude_id: int | None = None
    n_candidates: int | None = None
    literal: bool = False

    def tempered(self, logits: Tensor) -> Tensor:
        """Logits [N, V] of the distribution before it is cut."""
        x = logits if self.literal else widen(logits)
        x = candidates_only(x, exclude_id=self.exclude_id, n_candidates=self.n_candidates)
        return x / self.temperature if self.temperature > 0 else x


Choose = Callable[[Tensor, slice], Tensor]
"""From shaped logits [n, V] of some of the rows, and which those are, to their tokens [n]."""


def proposals(
    logits: Tensor, shaping: Shaping, draw: Draw, choose: Choose
) -> tuple[Tensor, Tensor]:
    """Tokens [N] that `choose` picks from the shaped logits [N, V], and the scores [N] of their
    rows."""
    n, vocabulary = logits.shape
    size = BLOCK_ON_GPU if logits.is_cuda else BLOCK
    rows = max(1, size // vocabulary)
    tokens = []
    scores = []
    for start in range(0, max(n, 1), rows):
        block = slice(start, start + rows)
        x = shaped(draw.tempered(logits[block]), shaping, literal=draw.literal)
        token = choose(x, block)
        tokens.append(token)
        scores.append(score_of(x, token, shaping))
    return torch.cat(tokens), torch.cat(scores)


def shaped(x: Tensor, shaping: Shaping, *, literal: bool = False) -> Tensor:
    """Tempered logits [N, V] in which the tokens that are cut off are -inf."""
    if shaping.top_k and shaping.top_k_first:
        x = top_k_only(x, shaping.top_k)
    if shaping.top_p < 1:
        x = top_p_only(x, shaping.top_p, stable=not literal)
    if shaping.top_k and not shaping.top_k_first:
        x = top_k_only(x, shaping.top_k)
    return x


def top_p_only(x: Tensor, p: float, *, stable: bool = True) -> Tensor:
    """Logits [N, V] without the tokens before which more than `p` of the mass lies, in falling
    order; `stable`: of equal tokens the lowest id comes first.

    The first token stays, and so does the one at which the mass passes `p`. transformers' own
    filter cuts that of two readings which differs where the mass is exactly `p`: there it is the
    last token, here the next one still stays, as in Dream's sampler.
    """
    ordered, ids = x.sort(dim=-1, descending=True, stable=stable)
    mass = ordered.softmax(-1).cumsum(-1)
    beyond = mass > p
    # The first token above stays: what is cut is what comes after it.
    cut_in_order = torch.zeros_like(beyond)
    cut_in_order[:, 1:] = beyond[:, :-1]
    cut = torch.zeros_like(beyond).scatter_(-1, ids, cut_in_order)
    return x.masked_fill(cut, -math.inf)


def top_k_only(x: Tensor, k: int) -> Tensor:
    """Logits [N, V] without the tokens below the k-th largest; those equal to it stay."""
    k = min(k, x.shape[-1])
    least = x.topk(k, dim=-1).values[:, -1:]
    return x.masked_fill(x < least, -math.inf)


def score_of(x: Tensor, token: Tensor, shaping: Shaping) -> Tensor:
    """How sure [N] each row of shaped logits [N, V] is, of its `token` [N] or as a whole."""
    p = x.softmax(-1)
    if shaping.score == "margin":
        first, second = p.topk(2, dim=-1).values.unbind(-1)
        return first - second
    if shaping.score == "entropy":
        return _negative_entropy(p, shaping.log_offset)
    return p.gather(-1, token[:, None]).squeeze(-1)


def _negative_entropy(p: Tensor, offset: float) -> Tensor:
    if offset > 0:
        return (p * (p + offset).log()).sum(-1)
    terms: Tensor = torch.special.xlogy(p, p)  # 0 where p is
    return terms.sum(-1)
