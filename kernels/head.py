"""The output head, chunk by chunk: hidden states in, statistics and sampled tokens out, logits gone
in between.

A chunk of rows is projected, reduced and dropped, so the largest tensor with a vocabulary dimension
is [chunk_rows, V], apart from the ring that keeps the step before for KL; without a ring the
previous hidden states are projected again, in the same chunk. Shapes: N rows, D features, V
vocabulary, A target tokens.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F

from .dispatch import gumbel_argmax, logit_stats, token_probability
from .distribution import widen
from .matrix_product import safe_rows
from .previous import Previous
from .reference import LogitStats
from .ring import LogitRing
from .shaping import Draw, Shaping, proposals


@dataclass(frozen=True)
class Sampling:
    """How a token is proposed at each row, and how sure the proposal is.

    `suppress`: ids set to -inf before everything else (the distribution itself changes).
    `confidence_suppress`: ids set to -inf after the token was proposed, for its confidence only.
    `literal`: the reference's own arithmetic: softmax in the logits' dtype, every id is a
    candidate. `shaping`: tokens are drawn from what top-p and top-k leave, and the confidence is of
    that distribution; without it, the token's probability in the model's own.
    """

    temperature: float = 0.0
    seed: int = 0
    suppress: tuple[int, ...] = ()
    confidence_suppress: tuple[int, ...] = ()
    exclude_id: int | None = None
    n_candidates: int | None = None
    literal: bool = False
    shaping: Shaping | None = None


class Rows(NamedTuple):
    """What the head is asked about: N rows and what belongs to each. Optional parts are None."""

    hidden: Tensor  # [N, D]
    unconditional: Tensor | None = None  # [N, D], for classifier-free guidance
    previous: Tensor | None = None  # [N, D], the step before (guided already); NaN rows have none
    targets: Tensor | None = None  # [N, A]
    counter: Tensor | None = None  # [N, 3] int64: problem key, position, step; for the noise
    place: Tensor | None = None  # [N] int64, where in the ring the step before lies, this one goes
    first: Tensor | None = None  # [N] bool, rows that have no step before

    def select(self, rows: Tensor | slice) -> Rows:
        """Some of the rows, with everything that belongs to them."""
        picked = [None if part is None else part[rows] for part in self]
        return Rows(self.hidden[rows], *picked[1:])


class Proposal(NamedTuple):
    """The token the sampler proposes at each row, and its confidence."""

    token: Tensor  # [N] int64
    confidence: Tensor  # [N] in the dtype the rule works in


class Head:
    """`head.step(rows, ...)`: LogitStats and Proposal for N rows, at most `chunk_rows` of logits at
    a time."""

    def __init__(
        self,
        weight: Tensor,
        *,
        sampling: Sampling,
        guidance: float = 0.0,
        chunk_rows: int = 1024,
        ring: LogitRing | None = None,
        logits_dtype: torch.dtype | None = None,
    ) -> None:
        self.weight = weight
        self.sampling = sampling
        self.guidance = guidance
        self.chunk_rows = chunk_rows
        self.ring = ring
        self.logits_dtype = logits_dtype or weight.dtype
        if ring is not None and ring.logits.dtype != self.logits_dtype:
            raise ValueError(
                f"the ring holds {ring.logits.dtype}, the head gives {self.logits_dtype}; make "
                "them equal"
            )

    def logits(self, hidden: Tensor) -> Tensor:
        """Rows [N, V] of logits in `logits_dtype`; N is padded inside, so that a row's bits do not
        depend on it."""
        n = len(hidden)
        least = self.chunk_rows if hidden.is_cuda else safe_rows()
        if n < least:
            hidden = F.pad(hidden, (0, 0, 0, least - n))
        return self._project(hidden)[:n]

    def _project(self, hidden: Tensor) -> Tensor:
        if self.logits_dtype.itemsize <= self.weight.dtype.itemsize:
            return F.linear(hidden, self.weight).to(self.logits_dtype)
        if hidden.is_cuda:
            return torch.mm(hidden, self.weight.T, out_dtype=self.logits_dtype)
        wide = hidden.to(self.logits_dtype)
        parts = []
        for weight in self.weight.split(8192):  # never a wide copy of the whole head
            parts.append(F.linear(wide, weight.to(self.logits_dtype)))
        return torch.cat(parts, dim=-1)

    def guide(self, conditional: Tensor, unconditional: Tensor | None) -> Tensor:
        """Classifier-free guidance un + (s + 1)(l - un); linear, so it serves hidden states and
        logits alike."""
        if unconditional is None:
            return conditional
        return unconditional + (self.guidance + 1) * (conditional - unconditional)

    def step(self, rows: Rows, *, topk: int = 0) -> tuple[LogitStats, Proposal]:
        """Statistics and proposals for all rows, in order."""
        if self.ring is not None:
            self.ring.advance()
        stats: list[LogitStats] = []
        proposals: list[Proposal] = []
        for start in range(0, max(len(rows.hidden), 1), self.chunk_rows):
            chunk = rows.select(slice(start, start + self.chunk_rows))
            logits = self._chunk_logits(chunk)
            stats.append(self._chunk_stats(logits, chunk, topk))
            proposals.append(self._propose(logits, chunk, stats[-1]))
            del logits  # or two chunks of them would be held
        all_stats = LogitStats(*map(torch.cat, zip(*stats, strict=True)))
        all_proposals = Proposal(*map(torch.cat, zip(*proposals, strict=True)))
        return all_stats, all_proposals

    def propose_without(self, rows: Rows, forbidden: Tensor) -> Proposal:
        """Proposals [N] of the distributions that are left without the tokens `forbidden` [N, K] of
        each row: as if their logits were -inf."""
        return self._proposals(rows, forbidden=forbidden)

    def propose_this(self, rows: Rows, token: Tensor) -> Proposal:
        """`token` [N] as the proposals, and how sure they would be if the rule had proposed
        them."""
        return self._proposals(rows, forced=token)

    def _proposals(
        self, rows: Rows, *, forbidden: Tensor | None = None, forced: Tensor | None = None
    ) -> Proposal:
        """Proposals alone, of rows whose statistics are known; the ring stays as it is."""
        sampling = self.sampling
        proposals: list[Proposal] = []
        for start in range(0, max(len(rows.hidden), 1), self.chunk_rows):
            block = slice(start, start + self.chunk_rows)
            chunk = rows.select(block)
            logits = self._chunk_logits(chunk)
            if forbidden is not None:
                logits.scatter_(-1, forbidden[block], -torch.inf)
            stats = logit_stats(
                logits,
                None,
                exclude_id=sampling.exclude_id,
                n_candidates=sampling.n_candidates,
            )
            token = None if forced is None else forced[block]
            proposals.append(self._propose(logits, chunk, stats, token))
            del logits  # or two chunks of them would be held
        return Proposal(*map(torch.cat, zip(*proposals, strict=True)))

    def _chunk_logits(self, rows: Rows) -> Tensor:
        logits = self.logits(rows.hidden)
        if rows.unconditional is not None:
            logits = self.guide(logits, self.logits(rows.unconditional))
        return without(logits, self.sampling.suppress)

    def _chunk_stats(self, logits: Tensor, rows: Rows, topk: int) -> LogitStats:
        ring = self.ring
        previous: Tensor | Previous | None
        if ring is None:
            previous = self._previous(rows)
        else:
            previous = ring.before(*_placed(rows))
        stats = logit_stats(
            logits,
            rows.targets,
            previous=previous,
            topk=topk,
            exclude_id=self.sampling.exclude_id,
            n_candidates=self.sampling.n_candidates,
            keep=ring is not None,
        )
        if ring is not None:
            place, _ = _placed(rows)
            ring.wrote(place, stats)
        return stats

    def _previous(self, rows: Rows) -> Tensor | None:
        if rows.previous is None:
            return None
        return without(self.logits(rows.previous), self.sampling.suppress)

    def _propose(
        self, logits: Tensor, rows: Rows, stats: LogitStats, forced: Tensor | None = None
    ) -> Proposal:
        """Tokens and how sure they are; the tokens are `forced` [N] where those are given."""
        sampling = self.sampling
        if sampling.shaping is not None:
            return self._shaped(logits, rows, stats, sampling.shaping, forced)
        token = self._token(logits, rows, stats) if forced is None else forced
        if sampling.literal or sampling.confidence_suppress:
            return Proposal(token, self._judged(logits, token))
        if sampling.temperature > 0 or forced is not None:
            return Proposal(token, token_probability(logits, token, stats.lse))
        return Proposal(token, stats.top1_prob)

    def _judged(self, logits: Tensor, token: Tensor) -> Tensor:
        """p [N] of `token` [N] by a softmax of its own, without the tokens suppressed for it."""
        sampling = self.sampling
        if sampling.confidence_suppress:
            logits = without(logits.clone(), sampling.confidence_suppress)
        if not sampling.literal:
            logits = widen(logits)
        column = token[:, None]
        return logits.softmax(-1).gather(-1, column).squeeze(-1)

    def _shaped(
        self,
        logits: Tensor,
        rows: Rows,
        stats: LogitStats,
        shaping: Shaping,
        forced: Tensor | None,
    ) -> Proposal:
        """A token of the shaped distribution, and how sure that is."""
        sampling = self.sampling
        draw = Draw(
            sampling.temperature, sampling.exclude_id, sampling.n_candidates, sampling.literal
        )

        def choose(x: Tensor, block: slice) -> Tensor:
            if forced is not None:
                return forced[block]
            if sampling.temperature > 0:
                counter = self._counter(rows)[block]
                token = gumbel_argmax(
                    x, counter, temperature=1.0, seed=sampling.seed, exact=sampling.literal
                )
                return token.clamp_min(0)
            if sampling.literal:
                return x.softmax(-1).max(-1).indices
            return stats.top1_id[block].clamp_min(0)  # the most probable token is never cut off

        return Proposal(*proposals(logits, shaping, draw, choose))

    def _token(self, logits: Tensor, rows: Rows, stats: LogitStats) -> Tensor:
        sampling = self.sampling
        if sampling.temperature > 0:
            token = gumbel_argmax(
                logits,
                self._counter(rows),
                temperature=sampling.temperature,
                seed=sampling.seed,
                exclude_id=sampling.exclude_id,
                n_candidates=sampling.n_candidates,
                exact=sampling.literal,
            )
            return token.clamp_min(0)
        if sampling.literal:
            return logits.argmax(-1)
        return stats.top1_id.clamp_min(0)

    def _counter(self, rows: Rows) -> Tensor:
        if rows.counter is None:
            raise ValueError("sampling at temperature > 0 needs the rows' noise counters; got None")
        return rows.counter


def without(logits: Tensor, ids: tuple[int, ...]) -> Tensor:
    """The same tensor [N, V], with the columns `ids` at -inf."""
    for i in ids:  # a list as an index would be copied to the device, and waited for
        logits[:, i] = -torch.inf
    return logits


def _placed(rows: Rows) -> tuple[Tensor, Tensor]:
    if rows.place is None or rows.first is None:
        raise ValueError(
            "a head with a ring needs each row's place and whether it is its first step; got None"
        )
    return rows.place, rows.first
