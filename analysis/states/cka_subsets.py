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

from ...engine.store.format.output_head import HEAD, read_head
from ..findings.finding import Finding, Material
from ..groups import Groups
from ..limits import OF_RUNNING_AT_BOTH, status_of
from ..means import MeanOverBlocks
from ..metrics.block import Block, also, read_block
from ..quantity import Quantity

if TYPE_CHECKING:
    from ...engine.store import Run

MAX_PROBLEMS = 50
PAIR_CELLS = 1e10
"""Bound on steps^2 x positions^2 x problems: about a minute."""
NEEDED = "needs hidden states, record them with `diffengine run --save-logits hidden`"
SUBSETS = ("masked", "committed")
LABEL = "debiased CKA of the logits of two steps, positions {} at both"


def cka_subsets(run: Run, *, steps: int, seed: int = 0) -> dict[str, Quantity]:
    """`cka/matrix_masked` and `cka/matrix_committed` [step, other_step] over a random choice of
    problems; of several samples of a problem the first stands for it."""
    has_head = (run.path / HEAD).is_file()
    if "hidden" not in run or not has_head or not len(run):
        return {f"cka/matrix_{name}": _nothing(name, steps) for name in SUBSETS}

    firsts = Groups.of(run.groups).first_rows()
    positions = int(run["hidden"].shape[2])
    affordable = PAIR_CELLS // (steps * positions) ** 2
    most = min(MAX_PROBLEMS, len(firsts))
    count = int(np.clip(affordable, 1, most))
    rng = np.random.default_rng(seed)
    rows = firsts[np.sort(rng.choice(len(firsts), count, replace=False))]
    run_id = str(run.info.get("run_id", ""))
    head = read_head(run.path, run_id=run_id)
    totals = {name: MeanOverBlocks((steps, steps)) for name in SUBSETS}
    for row in rows.tolist():
        hidden = np.asarray(run["hidden"][[row]])[0].astype(np.float32)
        masked = _block_of(run, row).masked[0]
        matrices = of_problem(hidden, masked, head)
        for name, matrix in matrices.items():
            totals[name].add(matrix[None])

    quantities = {}
    for name, total in totals.items():
        quantities[f"cka/matrix_{name}"] = Quantity.of_mean(
            total.result(),
            units="1",
            label=LABEL.format(name),
            missing="no pair of steps has 4 such positions",
        )
    return quantities


def _block_of(run: Run, row: int) -> Block:
    """The one problem with its commits and what was open."""
    names = ("performed", "committed", *also(run))
    return read_block({name: np.asarray(run[name][[row]]) for name in names})


def _nothing(name: str, steps: int) -> Quantity:
    return Quantity(
        np.full((steps, steps), np.nan),
        ("step", "other_step"),
        units="1",
        n=0,
        stderr=None,
        status=status_of(NEEDED),
        label=LABEL.format(name),
    )


def of_problem(
    hidden: np.ndarray, masked_at: np.ndarray, head: np.ndarray
) -> dict[str, np.ndarray]:
    """Both [step, step] matrices of one problem: `hidden` [step, position, D], `masked_at` [step,
    position] bool, `head` [V, D].

    Positions that a step did not read (NaN) are in neither. Steps without a forward pass and pairs
    with fewer than 4 positions are NaN.
    """
    import torch

    from ...kernels.geometry import LogitGeometry, debiased_cka

    steps = len(hidden)
    is_read = np.isfinite(hidden).all(axis=2)
    performed = np.flatnonzero(is_read.any(axis=1))
    geometry = LogitGeometry(torch.from_numpy(head))
    known = _without_gaps(hidden[performed], is_read[performed])
    grams = geometry.centred_grams(torch.from_numpy(known))
    masked = torch.from_numpy(masked_at[performed] & is_read[performed])
    committed = torch.from_numpy(~masked_at[performed] & is_read[performed])
    matrices = {name: np.full((steps, steps), np.nan) for name in SUBSETS}
    for index, step in enumerate(performed):
        later_steps = performed[index:]
        later_grams = grams[index:]
        same_gram = grams[index].expand_as(later_grams)
        both = {
            "masked": masked[index] & masked[index:],
            "committed": committed[index] & committed[index:],
        }
        for name, positions in both.items():
            cka = debiased_cka(same_gram, later_grams, positions).numpy()
            matrix = matrices[name]
            matrix[step, later_steps] = cka
            matrix[later_steps, step] = cka
    return matrices


def _without_gaps(hidden: np.ndarray, is_read: np.ndarray) -> np.ndarray:
    """`hidden` [step, position, D] with each step's mean at the positions that it did not read, so
    that they move no other; `is_read` [step, position]."""
    if is_read.all():
        return hidden
    read = is_read[..., None]
    total = np.where(read, hidden, 0).sum(axis=1, keepdims=True, dtype=np.float64)
    mean = total / is_read.sum(axis=1)[:, None, None]
    return np.where(read, hidden, mean.astype(np.float32))


def _make(material: Material) -> dict[str, Quantity]:
    quantities = cka_subsets(
        material.run, steps=material.steps, seed=material.settings.analysis_seed
    )
    if not material.trajectories.ends_differ:
        return quantities
    return {
        name: each._replace(label=each.label + OF_RUNNING_AT_BOTH)
        for name, each in quantities.items()
    }


FINDING = Finding(tuple(f"cka/matrix_{name}" for name in SUBSETS), _make)
