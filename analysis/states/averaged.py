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
from ..quantity import Quantity

if TYPE_CHECKING:
    from ...engine.store import Run

LOGITS_BYTES = 256 * 2**20
"""Bound on the logits held at a time."""


def averaged_trajectory(run: Run) -> dict[str, Quantity]:
    """`kl_averaged` (nats, KL(p_t-1 || p_t), the original suite's direction and unit) and
    `cka_averaged` (biased), dims [step].

    Step t compares with the step before it; NaN at the first step and where not every problem
    performed both steps. Raises NotStored if the run has no mean hidden states or no head,
    DamagedRun if either is not as it was written.
    """
    if "hidden_sum" not in run or not (run.path / HEAD).is_file():
        raise NotStored(
            f"{run.path} has no averaged logits: expected the variable hidden_sum and the file "
            "head.h5; "
            "record them with `diffengine run --save-logits hidden`, or analyze without the "
            "averaged form"
        )
    total, n = run.shard_sum("hidden_sum")
    mean = np.where(_everywhere(run)[:, None, None], total / n, np.nan)
    head = read_head(run.path, run_id=str(run.info.get("run_id", "")))
    kl = consecutive_kl(mean, head)
    cka = consecutive_cka(mean, head)
    label = "of the averaged logits (the original suite's form)"
    return {
        "kl_averaged": Quantity(kl, ("step",), "nats", n, None, "ok", f"KL(p_t-1 || p_t) {label}"),
        "cka_averaged": Quantity(
            cka, ("step",), "1", n, None, "ok", f"biased CKA with the step before {label}"
        ),
    }


def consecutive_kl(hidden: np.ndarray, head: np.ndarray) -> np.ndarray:
    """[step] mean over positions of KL(p_t-1 || p_t), nats, of `hidden` [step, position, D] @
    `head`.T [D, V]."""
    steps, positions, _ = hidden.shape
    total = np.full(steps, np.nan)
    total[1:] = 0.0
    rows = max(1, LOGITS_BYTES // (16 * len(head)))
    for first in range(0, positions, rows):
        before = None
        for step in range(steps):
            now = _log_softmax(hidden[step, first : first + rows] @ head.T)
            if before is not None:
                total[step] += (np.exp(before) * (before - now)).sum()
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
    norms = np.sqrt((grams**2).sum(axis=(1, 2)))
    with np.errstate(invalid="ignore", divide="ignore"):
        cka = (grams[1:] * grams[:-1]).sum(axis=(1, 2)) / (norms[1:] * norms[:-1])
    return np.concatenate([[np.nan], cka])[: len(hidden)]


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
