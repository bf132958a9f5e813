"""The output head, chunk by chunk: hidden states in, statistics and sampled tokens out, logits gone in between.

A chunk of rows is projected, reduced and dropped, so the largest tensor with a vocabulary dimension is
[chunk_rows, V]. KL to the previous step projects the previous hidden states in the same chunk. Knows nothing of
canvases or policies. Shapes: N rows, D features, V vocabulary, A target tokens.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F

from .blas import safe_rows
from .gumbel import gumbel_argmax
from .reference import LogitStats, candidates_only, logit_stats, widen


@dataclass(frozen=True)
class Sampling:
    """How a token is proposed at each row, and how sure the proposal is.

    `suppress`: ids set to -inf before everything else (the distribution itself changes).
    `confidence_suppress`: ids set to -inf after the token was proposed, for its confidence only.
    `literal`: the reference's own arithmetic: softmax in the logits' dtype, every id is a candidate.
    """

    temperature: float = 0.0
    seed: int = 0
    suppress: tuple[int, ...] = ()
    confidence_suppress: tuple[int, ...] = ()
    exclude_id: int | None = None
    n_candidates: int | None = None
    literal: bool = False


class Rows(NamedTuple):
    """What the head is asked about: N rows and what belongs to each. Optional parts are None."""

    hidden: Tensor  # [N, D]
    unconditional: Tensor | None = None  # [N, D], for classifier-free guidance
    previous: Tensor | None = None  # [N, D], the step before (guided already); NaN rows have none
    targets: Tensor | None = None  # [N, A]
    counter: Tensor | None = None  # [N, 3] int64: problem key, position, step; for the noise

    def select(self, rows: Tensor | slice) -> Rows:
        """Some of the rows, with everything that belongs to them."""
        picked = [None if part is None else part[rows] for part in self]
        return Rows(self.hidden[rows], *picked[1:])


class Proposal(NamedTuple):
    """The token the sampler proposes at each row, and its confidence."""

    token: Tensor  # [N] int64
    confidence: Tensor  # [N] in the dtype the rule works in


class Head:
    """`head.step(rows, ...)`: LogitStats and Proposal for N rows, at most `chunk_rows` of logits at a time."""

    def __init__(self, weight: Tensor, *, sampling: Sampling, guidance: float = 0.0, chunk_rows: int = 1024) -> None:
        self.weight, self.sampling, self.guidance, self.chunk_rows = weight, sampling, guidance, chunk_rows

    def logits(self, hidden: Tensor) -> Tensor:
        """Rows [N, V] of logits in the model's dtype; N is padded to `safe_rows` inside."""
        short = safe_rows() - len(hidden)
        padded = F.pad(hidden, (0, 0, 0, short)) if short > 0 else hidden
        return F.linear(padded, self.weight)[: len(hidden)]

    def guide(self, conditional: Tensor, unconditional: Tensor | None) -> Tensor:
        """Classifier-free guidance un + (s + 1)(l - un); linear, so it serves hidden states and logits alike."""
        if unconditional is None:
            return conditional
        return unconditional + (self.guidance + 1) * (conditional - unconditional)

    def step(self, rows: Rows, *, topk: int = 0) -> tuple[LogitStats, Proposal]:
        """Statistics and proposals for all rows, in order."""
        n = len(rows.hidden)
        parts = [
            self._chunk(rows.select(slice(i, i + self.chunk_rows)), topk) for i in range(0, max(n, 1), self.chunk_rows)
        ]
        stats = LogitStats(*(torch.cat(column) for column in zip(*(p[0] for p in parts), strict=True)))
        return stats, Proposal(*(torch.cat(column) for column in zip(*(p[1] for p in parts), strict=True)))

    def _chunk(self, rows: Rows, topk: int) -> tuple[LogitStats, Proposal]:
        logits = self.logits(rows.hidden)
        if rows.unconditional is not None:
            logits = self.guide(logits, self.logits(rows.unconditional))
        previous = None if rows.previous is None else self.logits(rows.previous)
        if self.sampling.suppress:
            logits = _without(logits, self.sampling.suppress)
            previous = None if previous is None else _without(previous, self.sampling.suppress)
        chosen = self.sampling
        stats = logit_stats(
            logits,
            rows.targets,
            previous=previous,
            topk=topk,
            exclude_id=chosen.exclude_id,
            n_candidates=chosen.n_candidates,
        )
        return stats, self._propose(logits, rows, stats)

    def _propose(self, logits: Tensor, rows: Rows, stats: LogitStats) -> Proposal:
        chosen = self.sampling
        if chosen.temperature > 0:
            if rows.counter is None:
                raise ValueError("sampling at temperature > 0 needs the rows' noise counters; got None")
            allowed = (
                logits
                if chosen.literal
                else candidates_only(widen(logits), exclude_id=chosen.exclude_id, n_candidates=chosen.n_candidates)
            )
            token = gumbel_argmax(allowed, rows.counter, temperature=chosen.temperature, seed=chosen.seed)
        else:
            token = logits.argmax(-1) if chosen.literal else stats.top1_id.clamp_min(0)
        if not (chosen.literal or chosen.temperature > 0 or chosen.confidence_suppress):
            return Proposal(token, stats.top1_prob)
        judged = _without(logits, chosen.confidence_suppress) if chosen.confidence_suppress else logits
        probability = (judged if chosen.literal else widen(judged)).softmax(-1)
        return Proposal(token, probability.gather(-1, token[:, None]).squeeze(-1))


def _without(logits: Tensor, ids: tuple[int, ...]) -> Tensor:
    kept = logits.clone()
    kept[:, list(ids)] = -torch.inf
    return kept
