"""The original suite's averaged form: KL and CKA between consecutive steps of the logits averaged
over problems.

An option for comparison with the original suite's numbers: averaging logits mixes problems whose
positions mean different things, and biased CKA is near 1 at any data when the vocabulary dwarfs the
number of positions. The mean of the logits is the logits of the mean hidden state, so the run's
`hidden_sum` and `head.h5` give it exactly; a run without them has no such quantity. The whole head
is held in memory (2 GB for 126 464 x 4096) and the logits are formed once: minutes there.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from ...engine.store.errors import NotStored
from ...engine.store.format.output_head import HEAD, read_head
from ..findings.finding import Finding, Material
from ..groups import Groups
from ..limits import OK
from ..quantity import Quantity

if TYPE_CHECKING:
    from ...engine.store import Run

NO_COMMON_STEPS = "no two steps behind each other were performed by every problem"

LOGITS_BYTES = 256 * 2**20
"""Bound on the logits held at a time."""


def averaged_trajectory(run: Run) -> dict[str, Quantity]:
    """`kl_averaged` (nats, KL(p_t-1 || p_t), the original suite's direction and unit) and
    `cka_averaged` (biased), dims [step].

    Step t compares with the step before it; NaN at the first step and where not every problem
    performed both steps. Over all samples of all problems alike. Raises NotStored if the run has no
    mean hidden states or no head, DamagedRun if either is not as it was written.
    """
    if "hidden_sum" not in run or not (run.path / HEAD).is_file():
        raise NotStored(
            f"{run.path} has no averaged logits: expected the variable hidden_sum and the file "
            "head.h5; record them with `diffengine run --save-logits hidden`, or analyze without "
            "the averaged form"
        )
    total, rows = run.shard_sum("hidden_sum")
    n = Groups.of(run.groups).count()
    everywhere = _everywhere(run)
    mean = np.where(everywhere[:, None, None], total / rows, np.nan)
    run_id = str(run.info.get("run_id", ""))
    head = read_head(run.path, run_id=run_id)
    label = "of the averaged logits (the original suite's form)"
    kl = Quantity(
        consecutive_kl(mean, head),
        ("step",),
        units="nats",
        n=n,
        stderr=None,
        status=OK,
        label=f"KL(p_t-1 || p_t) {label}",
    )
    cka = Quantity(
        consecutive_cka(mean, head),
        ("step",),
        units="1",
        n=n,
        stderr=None,
        status=OK,
        label=f"biased CKA with the step before {label}",
    )
    has_pair = (everywhere[1:] & everywhere[:-1]).any()
    if len(everywhere) > 1 and not has_pair:
        kl = kl.undefined(NO_COMMON_STEPS)
        cka = cka.undefined(NO_COMMON_STEPS)
    return {"kl_averaged": kl, "cka_averaged": cka}


def consecutive_kl(hidden: np.ndarray, head: np.ndarray) -> np.ndarray:
    """[step] mean over positions of KL(p_t-1 || p_t), nats, of `hidden` [step, position, D] @
    `head`.T [D, V]."""
    steps, positions, _ = hidden.shape
    total = np.full(steps, np.nan)
    total[1:] = 0.0
    rows = max(1, LOGITS_BYTES // (16 * len(head)))
    for first in range(0, positions, rows):
        part = slice(first, first + rows)
        before = None
        for step in range(steps):
            logits = hidden[step, part] @ head.T
            now = _log_softmax(logits)
            if before is not None:
                divergence = np.exp(before) * (before - now)
                total[step] += divergence.sum()
            before = now
    return np.asarray(total / positions)


def consecutive_cka(hidden: np.ndarray, head: np.ndarray) -> np.ndarray:
    """[step] biased linear CKA of the logits of steps t-1 and t over positions; NaN at the first
    step.

    Kornblith et al. 2019, eq. 3 and 4, in Gram form: the logits' Gram matrix is H (head.T head)
    H.T.
    """
    metric = (head.T @ head).astype(np.float64)
    centred = hidden - hidden.mean(axis=1, keepdims=True)
    grams = centred @ metric @ centred.transpose(0, 2, 1)
    squares = (grams**2).sum(axis=(1, 2))
    norms = np.sqrt(squares)
    with np.errstate(invalid="ignore", divide="ignore"):
        products = (grams[1:] * grams[:-1]).sum(axis=(1, 2))
        cka = products / (norms[1:] * norms[:-1])

    with_first: np.ndarray = np.concatenate([[np.nan], cka])
    return with_first[: len(hidden)]


def _log_softmax(logits: np.ndarray) -> np.ndarray:
    shifted = logits - logits.max(axis=-1, keepdims=True)
    total = np.exp(shifted).sum(axis=-1, keepdims=True)
    return np.asarray(shifted - np.log(total))


def _everywhere(run: Run) -> np.ndarray:
    """[step] bool: every problem performed the step, so that the sum over problems has all of them
    in it."""
    performed = np.asarray(run["performed"][...]) == 1
    return np.asarray(performed.all(axis=0))


def _make(material: Material) -> dict[str, Quantity]:
    return averaged_trajectory(material.run)


FINDING = Finding(("kl_averaged", "cka_averaged"), _make, asked=lambda settings: settings.averaged)
