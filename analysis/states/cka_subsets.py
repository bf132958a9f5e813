"""CKA of every pair of steps over masked, and over committed positions alone, from recorded hidden
states.

Debiased, in exact logit geometry, for each problem over the positions that are masked (committed)
at both steps; the mean over problems, with its error and n for each pair. Only a run with
`--save-logits hidden` has what this needs; else the matrices say so, and only neighbouring steps
are known (`cka/consecutive_masked`). A pair needs 4 such positions.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from ...engine.store.format.output_head import read_head
from ..means import MeanOverBlocks, as_quantity
from ..results import Quantity

if TYPE_CHECKING:
    from ...engine.store import Run

MAX_PROBLEMS = 50
PAIR_CELLS = 1e10
"""Bound on steps^2 x positions^2 x problems: about a minute."""
NEEDED = "insufficient: needs hidden states, record them with `diffengine run --save-logits hidden`"
SUBSETS = ("masked", "committed")


def cka_subsets(run: Run, *, steps: int, seed: int = 0) -> dict[str, Quantity]:
    """`cka/matrix_masked` and `cka/matrix_committed` [step, other_step] over a random choice of
    problems."""
    dims = ("step", "other_step")
    label = "debiased CKA of the logits of two steps, positions {} at both"
    if "hidden" not in run or not (run.path / "head.h5").is_file() or not len(run):
        empty = np.full((steps, steps), np.nan)
        return {
            f"cka/matrix_{name}": Quantity(empty, dims, "1", 0, None, NEEDED, label.format(name))
            for name in SUBSETS
        }
    positions = int(run["hidden"].shape[2])
    count = int(np.clip(PAIR_CELLS // (steps * positions) ** 2, 1, min(MAX_PROBLEMS, len(run))))
    totals = {name: MeanOverBlocks((steps, steps)) for name in SUBSETS}
    head = read_head(run.path, run_id=str(run.info.get("run_id", "")))
    for row in np.sort(np.random.default_rng(seed).choice(len(run), count, replace=False)).tolist():
        hidden, committed = (np.asarray(run[name][[row]])[0] for name in ("hidden", "committed"))
        commit = np.where((committed == 1).any(axis=0), (committed == 1).argmax(axis=0), steps)
        for name, matrix in of_problem(np.asarray(hidden, np.float32), commit, head).items():
            totals[name].add(matrix[None])
    missing = "no pair of steps has 4 such positions"
    return {
        f"cka/matrix_{name}": as_quantity(
            total.result(), dims=dims, units="1", label=label.format(name), missing=missing
        )
        for name, total in totals.items()
    }


def of_problem(
    hidden: np.ndarray, commit_step: np.ndarray, head: np.ndarray
) -> dict[str, np.ndarray]:
    """Both [step, step] matrices of one problem: `hidden` [step, position, D], `commit_step`
    [position], `head` [V, D].

    Steps without a forward pass (NaN) and pairs with fewer than 4 positions are NaN.
    """
    import torch

    from ...kernels.geometry import LogitGeometry, debiased_cka

    steps = len(hidden)
    at = np.flatnonzero(np.isfinite(hidden).all(axis=(1, 2)))
    grams = LogitGeometry(torch.from_numpy(head)).centred_grams(torch.from_numpy(hidden[at]))
    masked = torch.from_numpy(at[:, None] <= commit_step[None, :])
    found = {name: np.full((steps, steps), np.nan) for name in SUBSETS}
    for index in range(len(at)):
        later = slice(index, None)
        both = {
            "masked": masked[index] & masked[later],
            "committed": ~masked[index] & ~masked[later],
        }
        for name, rows in both.items():
            cka = debiased_cka(grams[index].expand_as(grams[later]), grams[later], rows).numpy()
            found[name][at[index], at[later]] = found[name][at[later], at[index]] = cka
    return found
