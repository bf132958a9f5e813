"""Who answers the same questions about rows of logits, and how far each answer is from float64.

Tasks: `logprob` (logsumexp and the log-probability of one token), `stats` (entropy, argmax and
margin besides), `stats+kl` (KL to the step before besides), `gumbel` (a draw at temperature 1) and
`topk` (the eight largest). Times are taken elsewhere.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import torch
from torch import Tensor

from ..kernels.dispatch import gumbel_argmax, logit_stats
from ..kernels.noise import token_noise

BITS = 1.4426950408889634
ROWS_CHECKED = 8
SEED = 3
K = 8
PARITY = {"lse": 1e-4, "logprob": 1e-4, "entropy": 2e-4, "kl": 2e-3}
"""Largest error against float64 (nats, nats, bits, bits) with which a provider's time may be
compared: what the literal definition loses in float32 at V = 126464. Ids and the k largest must be
right."""

Answer = dict[str, Tensor]


class Question(NamedTuple):
    """Logits [N, V] and what else a task needs of each row."""

    logits: Tensor
    previous: Tensor  # [N, V]; only `stats+kl` reads it
    targets: Tensor  # [N, 1]
    counter: Tensor  # [N, 3]: what the noise depends on


Provider = Callable[[Question], Answer]


class Unavailable(RuntimeError):
    """A peer that cannot run here; the message says why."""


def question(logits: Tensor, previous: Tensor) -> Question:
    """The same for everybody: target token 0 and counters by row."""
    rows = torch.arange(len(logits), device=logits.device)
    counter = torch.stack([rows, rows % 128, torch.full_like(rows, 5)], 1)
    return Question(logits, previous, torch.zeros_like(rows)[:, None], counter)


def eager_logprob(q: Question) -> Answer:
    """The literal definition, one torch operation after another, as all that is eager here."""
    logp = q.logits.float().log_softmax(-1)
    return {
        "lse": q.logits.float().logsumexp(-1),
        "logprob": logp.gather(1, q.targets)[:, 0],
    }


def eager_stats(q: Question) -> Answer:
    """Logsumexp, entropy, argmax, margin."""
    logp = q.logits.float().log_softmax(-1)
    top = q.logits.float().topk(2, -1)
    return {
        "lse": q.logits.float().logsumexp(-1),
        "entropy": -(logp.exp() * logp).sum(-1) * BITS,
        "top1_id": top.indices[:, 0],
        "margin": top.values[:, 0] - top.values[:, 1],
    }


def eager_kl(q: Question) -> Answer:
    """The same and KL(this || previous)."""
    logp = q.logits.float().log_softmax(-1)
    logq = q.previous.float().log_softmax(-1)
    stats = eager_stats(q)
    kl = (logp.exp() * (logp - logq)).sum(-1) * BITS
    return stats | {"kl": kl}


def published_draw(q: Question) -> Answer:
    """exp(x) / (-log u)^T in float64, argmax, at T = 1, as LLaDA's generate.py; its noise is its
    own."""
    wide = q.logits.double()
    noise = -torch.rand_like(wide).log()
    return {"drawn": (wide.exp() / noise).argmax(-1)}


def eager_topk(q: Question) -> Answer:
    """torch.topk."""
    return {"topk": q.logits.topk(K, -1).values}


def ours_stats(q: Question) -> Answer:
    """By the code that diffengine runs on this device, as all that is ours here; without mean and
    std, which no peer gives."""
    stats = logit_stats(q.logits, moments=False)
    return {
        "lse": stats.lse,
        "entropy": stats.entropy,
        "top1_id": stats.top1_id,
        "margin": stats.margin,
    }


def ours_logprob(q: Question) -> Answer:
    """With it come entropy, argmax and margin."""
    stats = logit_stats(q.logits, q.targets, moments=False)
    return {"lse": stats.lse, "logprob": stats.target_logprob[:, 0]}


def ours_kl(q: Question) -> Answer:
    """Nothing is known of the previous rows, so their logsumexp is taken as well; a run has it from
    the step before."""
    stats = logit_stats(q.logits, previous=q.previous, moments=False)
    return {
        "lse": stats.lse,
        "entropy": stats.entropy,
        "top1_id": stats.top1_id,
        "kl": stats.kl,
    }


def ours_draw(q: Question, *, exact: bool = False) -> Answer:
    """Counter-based noise; `exact` in float64, which the CPU takes always."""
    drawn = gumbel_argmax(q.logits, q.counter, temperature=1.0, seed=SEED, exact=exact)
    return {"drawn": drawn, "counted": torch.ones((), device=drawn.device)}


def ours_topk(q: Question) -> Answer:
    """With all statistics."""
    stats = logit_stats(q.logits, topk=K, moments=False)
    return {"topk": stats.topk_logit}


def liger(q: Question) -> Answer:
    """Liger's cross entropy without a gradient: -log p of the target in the logits' dtype."""
    try:
        from liger_kernel.ops.cross_entropy import cross_entropy_forward  # type: ignore[import-not-found]
    except ImportError:
        raise Unavailable("liger-kernel is not installed") from None
    if not q.logits.is_cuda:
        raise Unavailable("liger-kernel needs a GPU")
    options: dict[str, Any] = {
        "weight": None,
        "ignore_index": -100,
        "lse_square_scale": 0.0,
        "label_smoothing": 0.0,
        "reduction": "none",
        "softcap": None,
        "return_z_loss": False,
    }
    loss, *_ = cross_entropy_forward(q.logits.clone(), q.targets[:, 0], **options)
    return {"logprob": -loss.float()}


def compiled(provide: Provider) -> Provider:
    """The same by torch.compile, with shapes fixed."""
    return torch.compile(provide, dynamic=False)


EAGER: dict[str, Provider] = {
    "logprob": eager_logprob,
    "stats": eager_stats,
    "stats+kl": eager_kl,
    "gumbel": published_draw,
    "topk": eager_topk,
}
OURS: dict[str, Provider] = {
    "logprob": ours_logprob,
    "stats": ours_stats,
    "stats+kl": ours_kl,
    "gumbel": ours_draw,
    "topk": ours_topk,
}


def providers(task: str) -> dict[str, Provider]:
    """Who is asked: eager torch first, then us, then the peers."""
    chosen = {"eager": EAGER[task], "ours": OURS[task]}
    if task == "gumbel":
        chosen["ours, float64"] = lambda q: ours_draw(q, exact=True)
    if task in ("logprob", "stats", "stats+kl"):
        chosen["torch.compile"] = compiled(EAGER[task])
    if task == "logprob":
        chosen["liger cross entropy"] = liger
    return chosen


def errors(answer: Answer, q: Question) -> dict[str, float]:
    """Largest error of each result against float64 on at most eight rows; of ids and draws, how
    many are wrong."""
    x = q.logits[:ROWS_CHECKED].double()
    measured = {}
    for name, truth in _truths(x, q).items():
        if name in answer:
            apart = answer[name][:ROWS_CHECKED].double() - truth
            measured[name] = apart.abs().max().item()
    if "top1_id" in answer:
        ids = answer["top1_id"][:ROWS_CHECKED, None]
        chosen = x.gather(1, ids)[:, 0]
        measured["not_a_maximum"] = _count(chosen != x.amax(-1))
    if "drawn" in answer:
        measured |= _draw_errors(answer, x, q.counter[:ROWS_CHECKED])
    return measured


def _truths(x: Tensor, q: Question) -> Answer:
    """What float64 gives for the checked rows x."""
    logp = x.log_softmax(-1)
    logq = q.previous[:ROWS_CHECKED].double().log_softmax(-1)
    return {
        "lse": x.logsumexp(-1),
        "entropy": -(logp.exp() * logp).sum(-1) * BITS,
        "logprob": logp.gather(1, q.targets[:ROWS_CHECKED])[:, 0],
        "kl": (logp.exp() * (logp - logq)).sum(-1) * BITS,
        "topk": x.topk(min(K, x.shape[1]), -1).values,
    }


def _draw_errors(answer: Answer, x: Tensor, counter: Tensor) -> dict[str, float]:
    drawn = answer["drawn"][: len(x)]
    if "counted" not in answer:
        # Noise of its own: no more can be said than that the token is a possible one.
        logp = x.log_softmax(-1).gather(1, drawn[:, None])[:, 0]
        return {"impossible": _count(logp < -30)}
    noise = token_noise(counter, vocabulary=x.shape[1], seed=SEED)
    keys = x - noise.log()
    best = keys.topk(2, -1).values
    apart = best[:, 0] - best[:, 1]
    differs = drawn != keys.argmax(-1)
    return {"not_the_draw": _count(differs & (apart > 1e-5))}


def _count(wrong: Tensor) -> float:
    return float(wrong.sum())


def has_parity(measured: dict[str, float]) -> bool:
    """Whether a provider answers the same question; without that its time says nothing."""
    return all(error <= PARITY.get(name, 0.0) for name, error in measured.items())
