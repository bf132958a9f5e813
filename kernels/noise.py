"""Gumbel-max sampling with noise that depends on (seed, problem, step, position, token) and on
nothing else.

argmax_v x_v + T g_v with g = -log E, E ~ Exp(1), is an exact draw from softmax(x / T); it is the
log form of LLaDA's exp(x) / (-log U)^T. One Philox call serves four tokens: counter (token mod
32768, position, step, problem), word token // 32768, which covers vocabularies up to 131 072;
larger ones use a second counter block.
"""

from __future__ import annotations

import torch
from torch import Tensor

from .distribution import widen
from .philox import exponential, philox, uniform
from .reference import BLOCK, candidates_only

LANE = 32768
SCORE_DOMAIN = 0x8000_0000
"""Counter words at or above this never name a token: they are the noise of `random` remasking."""


def token_noise(counter: Tensor, *, vocabulary: int, seed: int) -> Tensor:
    """Exp(1) noise [N, V] (float64) for rows with counters [N, 3] (problem key, position, step)."""
    problem, position, step = (counter[:, i, None] for i in range(3))
    parts: list[Tensor] = []
    for block in range(-(-vocabulary // (4 * LANE))):
        left = vocabulary - block * 4 * LANE
        lane = torch.arange(min(left, LANE), device=counter.device)[None, :] + block * LANE
        words = philox((lane, position, step, problem), key=seed)
        parts += [word[:, : left - i * LANE] for i, word in enumerate(words) if left > i * LANE]
    return exponential(torch.cat(parts, dim=1))


def gumbel_argmax(
    logits: Tensor,
    counter: Tensor,
    *,
    temperature: float,
    seed: int,
    exclude_id: int | None = None,
    n_candidates: int | None = None,
    exact: bool = False,
) -> Tensor:
    """One draw from softmax(logits / temperature) over each row's candidates [N], with noise
    counted by `counter`.

    Here the keys are float64 as in the reference, `exact` or not; on a GPU they are float32 unless
    `exact`, and may differ where two keys nearly tie.
    """
    vocabulary = logits.shape[-1]
    drawn = []
    for some, count in zip(
        *(x.split(max(1, BLOCK // vocabulary)) for x in (logits, counter)), strict=True
    ):
        allowed = candidates_only(widen(some), exclude_id=exclude_id, n_candidates=n_candidates)
        noise = token_noise(count, vocabulary=vocabulary, seed=seed)
        drawn.append((allowed.double() - temperature * noise.log()).argmax(-1))
    return torch.cat(drawn)


def position_noise(counter: Tensor, *, seed: int) -> Tensor:
    """Uniform (0, 1) noise [N], the confidence of `random` remasking."""
    problem, position, step = counter.unbind(1)
    words = philox((torch.full_like(problem, SCORE_DOMAIN), position, step, problem), key=seed)
    return uniform(words[0])
