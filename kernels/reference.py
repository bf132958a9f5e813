"""The specification of every per-row statistic of logits, in plain torch; it also serves the CPU.

All functions take rows of logits [N, V] and reduce over V in float32 (float64 stays float64). They know nothing of
positions or steps. Shapes: N rows, V vocabulary, A target tokens, K largest logits kept.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
from torch import Tensor

BITS_PER_NAT = 1.0 / math.log(2.0)
STATUS_NOT_FINITE, STATUS_EMPTY = 1, 2


class LogitStats(NamedTuple):
    """Statistics of N rows of logits. Undefined values are NaN; `status` says why."""

    lse: Tensor  # [N] nats
    entropy: Tensor  # [N] bits
    kl: Tensor  # [N] bits, KL(this || previous); NaN where there is no previous row
    top1_id: Tensor  # [N] int64, ties to the lowest id, candidates only; -1 in an empty row
    top1_logit: Tensor  # [N] nats
    top1_prob: Tensor  # [N]
    margin: Tensor  # [N] nats, largest minus second largest logit of the whole row
    mean: Tensor  # [N] nats, over finite logits
    std: Tensor  # [N] nats, over finite logits
    target_logprob: Tensor  # [N, A] nats
    topk_id: Tensor  # [N, K] int64
    topk_logit: Tensor  # [N, K] in the logits' dtype
    status: Tensor  # [N] uint8: 1 a NaN or +inf, 2 all -inf


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
    previous: Tensor | None = None,
    topk: int = 0,
    exclude_id: int | None = None,
    n_candidates: int | None = None,
) -> LogitStats:
    """Every statistic of each row of `logits` [N, V] in one call.

    `targets` [N, A] are token ids (negative: NaN in the result). `previous` [N, V] are the logits of the step before;
    a row of it that holds a NaN has no previous step. `exclude_id` and `n_candidates` restrict `top1_*` only: the
    distribution is always that of the whole row.

    Entropy is H = log2 S - T/S with S = sum e^z, T = sum z e^z / ln 2 and z = x - max x: shifting inside T keeps the
    difference between numbers of at most log2 V bits, whatever the offset of the logits. KL(p||q) =
    sum p (x - y) - (lse_x - lse_y).
    """
    n, vocabulary = logits.shape
    x = widen(logits)
    if n == 0:
        return _empty(x, logits, 0 if targets is None else targets.shape[1], min(topk, vocabulary))
    peak = x.amax(-1, keepdim=True)
    status = _status(x, peak)
    z = x - peak
    e = z.exp()
    total = e.sum(-1)
    lse = peak.squeeze(-1) + total.log()
    weighted = torch.where(e > 0, e * z, 0.0).sum(-1)
    entropy = (total.log() - weighted / total) * BITS_PER_NAT
    allowed = candidates_only(x, exclude_id=exclude_id, n_candidates=n_candidates)
    top1_logit, top1_id = _first_maximum(allowed)
    largest = x.topk(min(2, vocabulary), dim=-1).values
    margin = largest[:, 0] - largest[:, 1] if vocabulary > 1 else torch.full_like(lse, math.inf)
    finite = x.isfinite()
    count = finite.sum(-1)
    mean = torch.where(finite, x, 0.0).sum(-1) / count
    variance = torch.where(finite, x - mean[:, None], 0.0).square().sum(-1) / count
    kept = logits.topk(min(topk, vocabulary), dim=-1)
    stats = LogitStats(
        lse,
        entropy,
        kl_divergence(x, e / total[:, None], lse, previous),
        top1_id,
        top1_logit,
        x.softmax(-1).gather(-1, top1_id.clamp_min(0)[:, None]).squeeze(-1),
        margin,
        mean,
        variance.sqrt(),
        target_logprobs(x, lse, targets),
        kept.indices,
        kept.values,
        status,
    )
    return _undefined_where_empty(stats)


def kl_divergence(x: Tensor, p: Tensor, lse: Tensor, previous: Tensor | None) -> Tensor:
    """KL(p || q) in bits [N] for p = softmax(x) and q = softmax(previous); +inf where q = 0 < p, NaN without q."""
    if previous is None:
        return torch.full_like(lse, math.nan)
    y = widen(previous)
    lse_y = torch.logsumexp(y, -1)
    terms = torch.where(p > 0, p * (x - y), 0.0)
    return (terms.sum(-1) - (lse - lse_y)) * BITS_PER_NAT


def target_logprobs(x: Tensor, lse: Tensor, targets: Tensor | None) -> Tensor:
    """log p of `targets` [N, A] in nats; NaN where the target is negative (padding)."""
    if targets is None:
        return x.new_empty(len(x), 0)
    picked = x.gather(-1, targets.clamp_min(0)) - lse[:, None]
    return torch.where(targets >= 0, picked, math.nan)


def _first_maximum(x: Tensor) -> tuple[Tensor, Tensor]:
    values = x.amax(-1)
    ids = (x == values[:, None]).int().argmax(-1)
    return values, ids


def _status(x: Tensor, peak: Tensor) -> Tensor:
    bad = x.isnan().any(-1) | (peak.squeeze(-1) == math.inf)
    empty = peak.squeeze(-1) == -math.inf
    return bad.to(torch.uint8) * STATUS_NOT_FINITE + empty.to(torch.uint8) * STATUS_EMPTY


def _undefined_where_empty(stats: LogitStats) -> LogitStats:
    empty = stats.status == STATUS_EMPTY
    return stats._replace(
        lse=torch.where(empty, -math.inf, stats.lse),
        entropy=torch.where(empty, math.nan, stats.entropy),
        top1_id=torch.where(stats.status != 0, -1, stats.top1_id),
        top1_prob=torch.where(empty, math.nan, stats.top1_prob),
        margin=torch.where(empty, math.nan, stats.margin),
    )


def _empty(x: Tensor, logits: Tensor, n_targets: int, k: int) -> LogitStats:
    floats, ids = x.new_empty(0), torch.empty(0, dtype=torch.int64, device=x.device)
    return LogitStats(
        floats,
        floats,
        floats,
        ids,
        floats,
        floats,
        floats,
        floats,
        floats,
        x.new_empty(0, n_targets),
        ids.new_empty(0, k),
        logits.new_empty(0, k),
        torch.empty(0, dtype=torch.uint8, device=x.device),
    )
