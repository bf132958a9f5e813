"""The specification of every per-row statistic of logits, in plain torch; it also serves the CPU.

All functions take rows of logits [N, V] and reduce over V in float32 (float64 stays float64), a few rows at a time, so
that what one pass leaves is still in the cache for the next. A logit at or below FLOOR counts as -inf, one at or above
CEILING as +inf. They know nothing of positions or steps. Shapes: N rows, V vocabulary, A target tokens, K largest kept.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
from torch import Tensor

BITS_PER_NAT = 1.0 / math.log(2.0)
STATUS_NOT_FINITE, STATUS_EMPTY = 1, 2
FLOOR, CEILING = -(2.0**30), 2.0**30
PRECISE_BELOW = 0.1  # nats; above it the plain form of KL is the better one
BLOCK = 1 << 19
"""Logits worked on at a time: 2 MiB of float32."""


class LogitStats(NamedTuple):
    """Statistics of N rows of logits. Undefined values are NaN; `status` says why."""

    lse: Tensor  # [N] nats
    entropy: Tensor  # [N] bits
    kl: Tensor  # [N] bits, KL(this || previous); NaN where there is no previous row
    kl_reverse: Tensor  # [N] bits, KL(previous || this); NaN unless it was asked for
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


class Previous(NamedTuple):
    """The step before: logits [M, V], what was computed of each, and at which of its rows each row has its own."""

    logits: Tensor  # [M, V]
    lse: Tensor  # [M] nats; NaN where a row has no step before
    place: Tensor  # [N] int64
    top1_id: Tensor  # [M] int64, for the compensated form
    top1_logit: Tensor  # [M]


def widen(logits: Tensor) -> Tensor:
    """The logits in the dtype the arithmetic is done in: float32, or float64 if they are float64 already."""
    return logits if logits.dtype in (torch.float32, torch.float64) else logits.float()


def candidates_only(logits: Tensor, *, exclude_id: int | None, n_candidates: int | None) -> Tensor:
    """Logits in which tokens that may never be predicted (mask token, padding rows of the head) are -inf."""
    if exclude_id is None and (n_candidates is None or n_candidates >= logits.shape[-1]):
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
    reverse: bool = False,
    precise: bool = False,
    moments: bool = True,
    keep: bool = False,
) -> LogitStats:
    """Every statistic of each row of `logits` [N, V] in one call.

    `targets` [N, A] are token ids (negative: NaN in the result). `previous` are the logits of the step before, [N, V]
    or wherever `Previous.place` finds them; a row of it that holds a NaN, or whose lse is NaN, has no previous step.
    With `keep` the logits take the place of the previous ones. `exclude_id` and `n_candidates` restrict `top1_*` only:
    the distribution is always that of the whole row. `reverse` asks for KL(previous || this), `precise` for a form of
    KL that keeps its digits when it is tiny, `moments=False` leaves mean and std NaN.

    Entropy is H = log2 S - T/S with S = sum e^z, T = sum z e^z / ln 2 and z = x - max x: shifting inside T keeps the
    difference between numbers of at most log2 V bits, whatever the offset of the logits. KL(p||q) =
    sum p (x - y) - (lse_x - lse_y).
    """
    n, vocabulary = logits.shape
    rows = max(1, BLOCK // vocabulary)
    parts = []
    for start in range(0, max(n, 1), rows):
        here = slice(start, start + rows)
        raw = logits[here]
        x = widen(raw)
        before = _before(previous, here)
        stats = _block(x, raw, None if targets is None else targets[here], topk, exclude_id, n_candidates, moments)
        if before is not None:
            y, lse_y = before
            kl = kl_divergence(x, stats.lse, y, lse_y, precise=precise)
            back = kl_divergence(y, lse_y, x, stats.lse) if reverse else stats.kl_reverse
            known = (stats.status == 0) & lse_y.isfinite()
            stats = stats._replace(kl=torch.where(known, kl, math.nan), kl_reverse=torch.where(known, back, math.nan))
            if keep and isinstance(previous, Previous):
                previous.logits[previous.place[here]] = raw
        parts.append(stats)
    return LogitStats(*(torch.cat(column) for column in zip(*parts, strict=True)))


def _before(previous: Tensor | Previous | None, here: slice) -> tuple[Tensor, Tensor] | None:
    if previous is None:
        return None
    if isinstance(previous, Previous):
        place = previous.place[here]
        return widen(previous.logits[place]), previous.lse[place]
    y = widen(previous[here])
    return y, torch.logsumexp(y, -1)


def _block(
    x: Tensor,
    raw: Tensor,
    targets: Tensor | None,
    topk: int,
    exclude_id: int | None,
    n_candidates: int | None,
    moments: bool,
) -> LogitStats:
    n, vocabulary = x.shape
    k = min(topk, vocabulary)
    ordinary = _all_ordinary(x)
    x = x if ordinary else _floored(x)
    kept = raw.topk(min(max(k, 2), vocabulary), dim=-1)
    largest = _floored(widen(kept.values))
    peak = largest[:, :1]
    status = torch.zeros(n, dtype=torch.uint8, device=x.device) if ordinary else _status(x, peak)
    p = x.softmax(-1)
    z = x - peak
    e = z.exp()
    total = e.sum(-1)  # softmax's own sum is only good to 4e-6 at V = 126464
    weighted = _expectation(e, z, ordinary) / total
    entropy = (total.log() - weighted) * BITS_PER_NAT
    lse = peak.squeeze(-1) + total.log()
    top1_logit, top1_id = _first_candidate(x, exclude_id, n_candidates)
    undefined = torch.full_like(lse, math.nan)
    margin = torch.full_like(lse, math.inf) if vocabulary == 1 else largest[:, 0] - largest[:, 1]
    mean, std = _moments(x, ordinary) if moments else (undefined, undefined)
    stats = LogitStats(
        lse,
        entropy,
        undefined,
        undefined,
        top1_id,
        top1_logit,
        p.gather(-1, top1_id.clamp_min(0)[:, None]).squeeze(-1),
        margin,
        mean,
        std,
        target_logprobs(x, lse, targets),
        kept.indices[:, :k],
        kept.values[:, :k],
        status,
    )
    return stats if ordinary else _undefined_where_broken(stats)


def _all_ordinary(x: Tensor) -> bool:
    """Whether no logit is NaN or infinite. Asked on the CPU alone, where looking costs no wait."""
    if x.device.type != "cpu" or not len(x):
        return False
    low, high = torch.aminmax(x)
    return bool(low > FLOOR) and bool(high < CEILING)


def _expectation(p: Tensor, z: Tensor, ordinary: bool) -> Tensor:
    """sum p z over p > 0; may overwrite z. Pairwise: a BLAS dot product in float32 loses two digits at V = 126464."""
    return z.mul_(p).sum(-1) if ordinary else torch.where(p > 0, p * z, 0.0).sum(-1)


def _floored(x: Tensor) -> Tensor:
    return torch.where(x <= FLOOR, -math.inf, x)


def _moments(x: Tensor, ordinary: bool) -> tuple[Tensor, Tensor]:
    if ordinary:
        mean = x.mean(-1)
        return mean, ((x - mean[:, None]).square_().sum(-1) / x.shape[-1]).sqrt()
    finite = (x > FLOOR) & (x < CEILING)
    count = finite.sum(-1)
    mean = torch.where(finite, x, 0.0).sum(-1) / count
    variance = torch.where(finite, x - mean[:, None], 0.0).square().sum(-1) / count
    return mean, variance.sqrt()


def kl_divergence(x: Tensor, lse_x: Tensor, y: Tensor, lse_y: Tensor, *, precise: bool = False) -> Tensor:
    """KL(p || q) in bits [N] for p = softmax(x) and q = softmax(y); +inf where q = 0 < p.

    `precise`: below 0.1 nats, F - (r - log1p r) with w = x - y - c for any constant c, F = sum p (w + expm1(-w)) and
    r = sum p expm1(-w). Every term of F is >= 0 and of second order, so nothing cancels.
    """
    ordinary = _all_ordinary(x) and _all_ordinary(y)
    x, y = (x, y) if ordinary else (_floored(x), _floored(y))
    p = (x - lse_x[:, None]).exp_()
    d = x - y if ordinary else torch.where(p > 0, x - y, 0.0)
    plain = _expectation(p, d.clone() if precise else d, ordinary) - (lse_x - lse_y)
    if not precise:
        return plain * BITS_PER_NAT
    w = d - (lse_x - lse_y)[:, None]
    near = torch.expm1(-w)
    r = (p * near).sum(-1)
    # The direct sum loses the digits of terms of order w^2, the series does not.
    series = w * w * (0.5 - w * (1 / 6 - w * (1 / 24 - w * (1 / 120 - w * (1 / 720 - w / 5040)))))
    f = (p * torch.where(w.abs() < 0.25, series, w + near)).sum(-1)
    log_excess = torch.where(r.abs() < 0.01, r * r * (0.5 - r * (1 / 3 - r * (0.25 - r * 0.2))), r - torch.log1p(r))
    better = (plain < PRECISE_BELOW) & ~((y > FLOOR) & (x <= FLOOR)).any(-1)
    return torch.where(better, f - log_excess, plain) * BITS_PER_NAT


def target_logprobs(x: Tensor, lse: Tensor, targets: Tensor | None) -> Tensor:
    """log p of `targets` [N, A] in nats; NaN where the target is negative (padding)."""
    if targets is None:
        return x.new_empty(len(x), 0)
    picked = x.gather(-1, targets.clamp_min(0)) - lse[:, None]
    return torch.where(targets >= 0, picked, math.nan)


def token_probability(logits: Tensor, token: Tensor, lse: Tensor) -> Tensor:
    """p [N] of one token per row, by torch's softmax: bit for bit what the published samplers compare."""
    return widen(logits).softmax(-1).gather(-1, token[:, None]).squeeze(-1)


def _first_candidate(x: Tensor, exclude_id: int | None, n_candidates: int | None) -> tuple[Tensor, Tensor]:
    end = x.shape[-1] if n_candidates is None else min(n_candidates, x.shape[-1])
    cut = end if exclude_id is None or exclude_id >= end else exclude_id
    value, at = _first_maximum(x[:, :cut])
    if cut + 1 < end:
        later, place = _first_maximum(x[:, cut + 1 : end])
        value, at = torch.maximum(value, later), torch.where(later > value, place + cut + 1, at)
    return value, torch.where(value <= FLOOR, -1, at)


def _first_maximum(x: Tensor) -> tuple[Tensor, Tensor]:
    if x.shape[-1] == 0 or len(x) == 0:
        return x.new_full((len(x),), -math.inf), torch.full((len(x),), -1, dtype=torch.int64, device=x.device)
    at = x.argmax(-1)
    return x.gather(-1, at[:, None]).squeeze(-1), at


def _status(x: Tensor, peak: Tensor) -> Tensor:
    bad = x.isnan().any(-1) | (peak.squeeze(-1) >= CEILING)
    empty = peak.squeeze(-1) <= FLOOR
    return bad.to(torch.uint8) * STATUS_NOT_FINITE + empty.to(torch.uint8) * STATUS_EMPTY


def _undefined_where_broken(stats: LogitStats) -> LogitStats:
    broken, empty = stats.status == STATUS_NOT_FINITE, stats.status == STATUS_EMPTY
    unsure = broken | empty
    lse = torch.where(broken, math.nan, torch.where(empty, -math.inf, stats.lse))
    return stats._replace(
        lse=lse,
        entropy=torch.where(unsure, math.nan, stats.entropy),
        top1_id=torch.where(unsure, -1, stats.top1_id),
        top1_logit=torch.where(broken, math.nan, stats.top1_logit),
        top1_prob=torch.where(unsure, math.nan, torch.where(stats.top1_id < 0, 0.0, stats.top1_prob)),
        margin=torch.where(unsure, math.nan, stats.margin),
        mean=torch.where(broken, math.nan, stats.mean),
        std=torch.where(broken, math.nan, stats.std),
        target_logprob=torch.where(unsure[:, None], math.nan, stats.target_logprob),
    )
