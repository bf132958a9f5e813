"""Which code serves a tensor: Triton for one on a GPU, plain torch for the rest. Same signatures, same meaning.

Triton is imported when the first such tensor comes. TRITON_INTERPRET=1, which must be set before triton is imported
anywhere, sends tensors of the CPU through the same kernels, slowly. float64 is always the specification's.
"""

from __future__ import annotations

import importlib.util
import os
from collections.abc import Callable

import torch
from torch import Tensor

from . import gumbel, reference
from .reference import LogitStats, Previous


def served_by_triton(logits: Tensor) -> bool:
    """Whether the kernels take `logits`, by its device and dtype."""
    if logits.dtype == torch.float64:
        return False
    if os.environ.get("TRITON_INTERPRET") == "1":
        return True
    return logits.device.type == "cuda" and importlib.util.find_spec("triton") is not None


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
    """`reference.logit_stats`, by the kernel that fits the device."""
    compute: Callable[..., LogitStats] = reference.logit_stats
    if served_by_triton(logits):
        from . import launch

        compute = launch.logit_stats
    return compute(
        logits,
        targets,
        previous=previous,
        topk=topk,
        exclude_id=exclude_id,
        n_candidates=n_candidates,
        reverse=reverse,
        precise=precise,
        moments=moments,
        keep=keep,
    )


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
    """One draw from softmax(logits / temperature) over each row's candidates [N], with noise counted by `counter`.

    On a CPU the keys are float64; a GPU uses float32 unless `exact`, and may differ where two keys nearly tie.
    """
    if served_by_triton(logits):
        from .gumbel_kernel import gumbel_argmax as draw

        return draw(
            logits,
            counter,
            temperature=temperature,
            seed=seed,
            exclude_id=exclude_id,
            n_candidates=n_candidates,
            exact=exact,
        )
    allowed = reference.candidates_only(reference.widen(logits), exclude_id=exclude_id, n_candidates=n_candidates)
    return gumbel.gumbel_argmax(allowed, counter, temperature=temperature, seed=seed)


def token_probability(logits: Tensor, token: Tensor, lse: Tensor) -> Tensor:
    """p [N] of one token per row. On a CPU by torch's softmax, bit for bit what the published samplers compare."""
    if served_by_triton(logits):
        return (logits.gather(-1, token[:, None]).squeeze(-1).float() - lse).exp()
    return reference.widen(logits).softmax(-1).gather(-1, token[:, None]).squeeze(-1)
