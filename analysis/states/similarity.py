"""Do the problems lie to each other at step t as they do at step t'? CKA, RSA and Procrustes of the
recorded states.

Samples are problems, features the recorded hidden state of a step: the mean over masked positions
(`masked`) or over the extracted answer's positions (`answer`). That is another question than
`cka/matrix`, whose samples are the positions of one problem. At most `MAX_PROBLEMS` problems, those
that have the state at every step that any of them has.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from ..registry import SIMILARITIES
from ..results import Quantity
from ..wording import lacking

if TYPE_CHECKING:
    from ...engine.store import Run

MAX_PROBLEMS = 200
MIN_PROBLEMS = 32
STATE_BYTES = 256 * 2**20
MEANING = {
    "cka_states": "debiased linear CKA over problems of the {state} states of two steps",
    "rsa": "Spearman correlation of the distances between problems ({state} states) at two steps",
    "procrustes": "1 - Procrustes distance / 2 of the {state} states of two steps (problems "
    "matched)",
}


def similarities(run: Run, *, steps: int, seed: int = 0) -> dict[str, Quantity]:
    """`<kind>/<state>_{matrix, consecutive, to_final}`; unit 1; no standard error: pairs of
    problems are dependent."""
    found: dict[str, Quantity] = {}
    for state in dict.fromkeys(state for _, state in SIMILARITIES):
        states = read_states(run, f"state_{state}", seed=seed)
        usable = (
            np.flatnonzero(np.isfinite(states).all(axis=(0, 2)))
            if len(states)
            else np.zeros(0, int)
        )
        for kind in dict.fromkeys(kind for kind, _ in SIMILARITIES):
            found |= _quantities(kind, state, states, usable, steps)
    return found


def read_states(run: Run, name: str, *, seed: int, max_problems: int = MAX_PROBLEMS) -> np.ndarray:
    """[n, step, feature] float32 of a random choice of problems with a value at most steps; [0, 0,
    0] if none has.

    Problems are kept that have the state at all steps at which at least half of the chosen have it.
    """
    if name not in run or not len(run):
        return np.zeros((0, 0, 0), np.float32)
    array = run[name]
    per_problem = 4 * int(np.prod(array.shape[1:]))
    count = min(max_problems, max(STATE_BYTES // max(per_problem, 1), MIN_PROBLEMS), len(run))
    rows = np.sort(np.random.default_rng(seed).choice(len(run), count, replace=False))
    states = np.asarray(array[rows.tolist()], np.float32)
    known = np.asarray(np.isfinite(states).all(axis=2))
    common = known.mean(axis=0) >= 0.5
    return states[np.asarray(known[:, common].all(axis=1))] if common.any() else states[:0]


def cka_states(states: np.ndarray) -> np.ndarray:
    """[step, step] debiased linear CKA (Song et al. 2012, eq. 5) of `states` [problem, step,
    feature]."""
    import torch

    from ...kernels.geometry import cka_matrix

    centred = torch.from_numpy(
        np.ascontiguousarray((states - states.mean(axis=0)).transpose(1, 0, 2))
    )
    return cka_matrix(centred @ centred.transpose(1, 2)).numpy().astype(np.float64)


def rsa(states: np.ndarray) -> np.ndarray:
    """[step, step] Spearman correlation of the Euclidean distances of all pairs of problems
    (Kriegeskorte 2008)."""
    from scipy.spatial.distance import pdist
    from scipy.stats import rankdata

    ranks = np.stack([rankdata(pdist(states[:, step])) for step in range(states.shape[1])])
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.atleast_2d(np.corrcoef(ranks))


def procrustes(one: np.ndarray, other: np.ndarray) -> float:
    """Nuclear norm of X'Y for centred X, Y [problem, feature] of unit Frobenius norm: 1 where a
    rotation, a shift and one scale turn X into Y, 0 where they are orthogonal (Schönemann 1966;
    Ding et al. 2021: distance 2 - 2 of this)."""
    one, other = (x - x.mean(axis=0) for x in (one, other))
    with np.errstate(invalid="ignore", divide="ignore"):
        product = (one / np.linalg.norm(one)).T @ (other / np.linalg.norm(other))
    return float(np.linalg.norm(product, "nuc")) if np.isfinite(product).all() else float("nan")


def _quantities(
    kind: str, state: str, states: np.ndarray, usable: np.ndarray, steps: int
) -> dict[str, Quantity]:
    n = len(states)
    label = MEANING[kind].format(state=state)
    status = "ok"
    if n < MIN_PROBLEMS or len(usable) < 2:
        status = (
            f"insufficient: {lacking(n, MIN_PROBLEMS, 'problems with the state at every step')}"
        )
    parts = _parts(kind, states, usable) if status == "ok" else {}
    shapes = {"matrix": ("step", "other_step"), "consecutive": ("step",), "to_final": ("step",)}
    if kind == "procrustes":
        del shapes["matrix"]
    return {
        f"{kind}/{state}_{which}": Quantity(
            parts.get(which, np.full((steps,) * len(dims), np.nan)),
            dims,
            "1",
            n,
            None,
            status,
            f"{label}, {which}",
        )
        for which, dims in shapes.items()
    }


def _parts(kind: str, states: np.ndarray, usable: np.ndarray) -> dict[str, np.ndarray]:
    steps = states.shape[1]
    consecutive = np.full(steps, np.nan)
    to_final = np.full(steps, np.nan)
    if kind == "procrustes":
        reduced = [_reduced(states[:, step].astype(np.float64)) for step in usable]
        consecutive[usable[1:]] = [
            procrustes(one, other) for one, other in zip(reduced[:-1], reduced[1:], strict=True)
        ]
        to_final[usable] = [procrustes(one, reduced[-1]) for one in reduced]
        return {"consecutive": consecutive, "to_final": to_final}
    matrix = np.full((steps, steps), np.nan)
    matrix[np.ix_(usable, usable)] = (cka_states if kind == "cka_states" else rsa)(
        states[:, usable]
    )
    consecutive[usable[1:]] = matrix[usable[1:], usable[:-1]]
    to_final[usable] = matrix[usable, usable[-1]]
    return {"matrix": matrix, "consecutive": consecutive, "to_final": to_final}


def _reduced(states: np.ndarray) -> np.ndarray:
    """The same configuration in at most as many dimensions as there are problems (exact: distances
    are kept)."""
    if states.shape[1] <= len(states):
        return states
    centred = states - states.mean(axis=0)
    values, vectors = np.linalg.eigh(centred @ centred.T)
    return vectors * np.sqrt(np.maximum(values, 0.0))  # rounding below zero, not an estimate
