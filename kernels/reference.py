"""The specification of every per-row statistic of logits, in plain torch; it also serves the CPU.

All functions take rows of logits [N, V] and reduce over V in float32 (float64 stays float64), a few
rows at a time, so that what one pass leaves is still in the cache for the next. Shapes: N rows, V
vocabulary, A target tokens, K largest kept.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
from torch import Tensor

from .distribution import (
    BITS_PER_NAT,
    CEILING,
    FLOOR,
    Distribution,
    distribution,
    kl_divergence,
    widen,
)
from .largest import largest
from .previous import Previous, read_previous

STATUS_NOT_FINITE = 1
STATUS_EMPTY = 2
BLOCK = 1 << 19
"""Logits worked on at a time: 2 MiB of float32."""


class LogitStats(NamedTuple):
    """Statistics of N rows of logits. Undefined values are NaN; `status` says why."""

    lse: Tensor  # [N] nats
    entropy: Tensor  # [N] bits
    kl: Tensor  # [N] bits, KL(this || previous); NaN where there is no previous row
    top1_id: Tensor  # [N] int64, ties to the lowest id, candidates only; -1 where there is none
    top1_logit: Tensor  # [N] nats
    top1_prob: Tensor  # [N]
    margin: Tensor  # [N] nats, largest minus second largest logit of the whole row
    mean: Tensor  # [N] nats, over finite logits
    std: Tensor  # [N] nats, over finite logits
    target_logprob: Tensor  # [N, A] nats
    topk_id: Tensor  # [N, K] int64
    topk_logit: Tensor  # [N, K] in the logits' dtype
    status: Tensor  # [N] uint8: 1 a NaN or +inf, 2 all -inf


class Candidates(NamedTuple):
    """Which tokens may be predicted: all but `exclude_id`, with ids below `n_candidates`."""

    exclude_id: int | None
    n_candidates: int | None


def candidates_only(logits: Tensor, *, exclude_id: int | None, n_candidates: int | None) -> Tensor:
    """Logits in which tokens that may never be predicted (mask token, padding rows of the head) are
    -inf."""
    all_below = n_candidates is None or n_candidates >= logits.shape[-1]
    if exclude_id is None and all_below:
        return logits
    allowed = logits.clone()
    if exclude_id is not None:
        allowed[:, exclude_id] = -math.inf
    if n_candidates is not None:
        allowed[:, n_candidates:] = -math.inf
    return allowed


def logit_stats(
    logits: Tensor,
    targets: Tensor | None = None,
    *,
    previous: Tensor | Previous | None = None,
    topk: int = 0,
    exclude_id: int | None = None,
    n_candidates: int | None = None,
    moments: bool = True,
    keep: bool = False,
) -> LogitStats:
    """Every statistic of each row of `logits` [N, V] in one call.

    `targets` [N, A] are token ids (negative: NaN in the result). `previous` are the logits of the
    step before, [N, V] or wherever `Previous.place` finds them; a row of it that holds a NaN, or
    whose lse is NaN, has no previous step. With `keep` the logits take the place of the previous
    ones. `exclude_id` and `n_candidates` restrict `top1_*` only: the distribution is always that of
    the whole row. `moments=False` leaves mean and std NaN.

    Entropy is H = log2 S - T/S with S = sum e^z, T = sum z e^z / ln 2 and z = x - max x: shifting
    inside T keeps the difference between numbers of at most log2 V bits, whatever the offset of the
    logits. Of `topk_id` equal logits come by their id.
    """
    n, vocabulary = logits.shape
    k = min(topk, vocabulary)
    candidates = Candidates(exclude_id, n_candidates)
    rows = max(1, BLOCK // vocabulary)
    parts = []
    for start in range(0, max(n, 1), rows):
        block = slice(start, start + rows)
        raw = logits[block]
        x = widen(raw)

        # The margin needs two.
        n_largest = min(max(k, 2), vocabulary)
        ids = largest(x, n_largest)
        of_x = distribution(x)
        stats = _row_stats(of_x, ids, candidates)
        if moments:
            stats = _with_moments(stats, of_x)
        if targets is not None:
            logprob = target_logprobs(of_x.x, stats.lse, targets[block])
            stats = stats._replace(target_logprob=logprob)
        stats = _undefined_where_broken(stats)

        if previous is not None:
            y, lse_y = read_previous(previous, block)
            stats = _with_kl(stats, of_x, y, lse_y)
            if keep and isinstance(previous, Previous):
                previous.leave(block, raw)

        ids = ids[:, :k]
        topk_logit = raw.gather(-1, ids)
        parts.append(stats._replace(topk_id=ids, topk_logit=topk_logit))
    return LogitStats(*map(torch.cat, zip(*parts, strict=True)))


def _row_stats(of_x: Distribution, ids: Tensor, candidates: Candidates) -> LogitStats:
    """What is known of rows [N, V] alone, given the `ids` [N, K] of their largest; mean, std and
    what is asked of targets are left undefined."""
    x = of_x.x
    best = x.gather(-1, ids[:, :2])
    peak = best[:, :1]
    # sum e^z: p is e^z / S, and e^z = 1 at the peak.
    p_at_peak = of_x.p.gather(-1, ids[:, :1]).squeeze(-1)
    total = of_x.mass / p_at_peak
    nats = total.log() - of_x.mean(x - peak)
    entropy = nats * BITS_PER_NAT
    peak = peak.squeeze(-1)
    lse = peak + total.log()
    undefined = torch.full_like(lse, math.nan)
    margin = torch.full_like(lse, math.inf)
    if x.shape[-1] > 1:
        margin = best[:, 0] - best[:, 1]

    top1_logit, top1_id = _first_candidate(x, ids[:, 0], peak, candidates)
    column = top1_id.clamp_min(0)[:, None]
    top1_prob = of_x.p.gather(-1, column).squeeze(-1)
    top1_prob = torch.where(top1_id < 0, 0.0, top1_prob)
    return LogitStats(
        lse=lse,
        entropy=entropy,
        kl=undefined,
        top1_id=top1_id,
        top1_logit=top1_logit,
        top1_prob=top1_prob,
        margin=margin,
        mean=undefined,
        std=undefined,
        target_logprob=x.new_empty(len(x), 0),
        topk_id=ids,
        topk_logit=best,
        status=_status(peak),
    )


def _with_kl(stats: LogitStats, of_x: Distribution, y: Tensor, lse_y: Tensor) -> LogitStats:
    kl = kl_divergence(of_x, stats.lse, y, lse_y)
    comparable = (stats.status == 0) & lse_y.isfinite()
    return stats._replace(kl=torch.where(comparable, kl, math.nan))


def _with_moments(stats: LogitStats, of_x: Distribution) -> LogitStats:
    x = of_x.x
    peak = stats.topk_logit[:, 0]
    if of_x.ordinary and bool(peak.amax() < CEILING):
        mean = x.mean(-1)
        variance = (x - mean[:, None]).square_().sum(-1) / x.shape[-1]
    else:
        finite = (x > FLOOR) & (x < CEILING)
        count = finite.sum(-1)
        mean = torch.where(finite, x, 0.0).sum(-1) / count
        variance = torch.where(finite, x - mean[:, None], 0.0).square().sum(-1) / count
    return stats._replace(mean=mean, std=variance.sqrt())


def target_logprobs(x: Tensor, lse: Tensor, targets: Tensor) -> Tensor:
    """log p of `targets` [N, A] in nats; NaN where the target is negative (padding)."""
    columns = targets.clamp_min(0)
    logprob = x.gather(-1, columns) - lse[:, None]
    return torch.where(targets >= 0, logprob, math.nan)


def token_probability(logits: Tensor, token: Tensor, lse: Tensor) -> Tensor:
    """p [N] of one token per row, by torch's softmax: bit for bit what the published samplers
    compare."""
    p = widen(logits).softmax(-1)
    return p.gather(-1, token[:, None]).squeeze(-1)


def _first_candidate(
    x: Tensor, first: Tensor, value: Tensor, candidates: Candidates
) -> tuple[Tensor, Tensor]:
    """Logit and id [N] of the largest candidate: the row's `first` and its `value` where that may
    be predicted."""
    exclude_id, n_candidates = candidates
    limit = x.shape[-1]
    if n_candidates is not None:
        limit = n_candidates
    allowed = first < limit
    if exclude_id is not None:
        allowed &= first != exclude_id
    if not allowed.all():
        others = (~allowed).nonzero().squeeze(-1)
        rest = candidates_only(x[others], exclude_id=exclude_id, n_candidates=n_candidates)
        first = first.index_copy(0, others, rest.argmax(-1))
        value = value.index_copy(0, others, rest.amax(-1))
    ids = torch.where(value <= FLOOR, -1, first)
    return value, ids


def _status(peak: Tensor) -> Tensor:
    # A NaN counts as the largest of its row.
    broken = peak.isnan() | (peak >= CEILING)
    empty = peak <= FLOOR
    status_broken = broken.to(torch.uint8) * STATUS_NOT_FINITE
    status_empty = empty.to(torch.uint8) * STATUS_EMPTY
    return status_broken + status_empty


def _undefined_where_broken(stats: LogitStats) -> LogitStats:
    if stats.status.device.type == "cpu" and not bool(stats.status.any()):
        return stats
    broken = stats.status == STATUS_NOT_FINITE
    empty = stats.status == STATUS_EMPTY
    unsure = broken | empty
    lse = torch.where(empty, -math.inf, stats.lse)
    lse = torch.where(broken, math.nan, lse)
    return stats._replace(
        lse=lse,
        entropy=torch.where(unsure, math.nan, stats.entropy),
        top1_id=torch.where(unsure, -1, stats.top1_id),
        top1_logit=torch.where(broken, math.nan, stats.top1_logit),
        top1_prob=torch.where(unsure, math.nan, stats.top1_prob),
        margin=torch.where(unsure, math.nan, stats.margin),
        mean=torch.where(broken, math.nan, stats.mean),
        std=torch.where(broken, math.nan, stats.std),
        target_logprob=torch.where(unsure[:, None], math.nan, stats.target_logprob),
    )
