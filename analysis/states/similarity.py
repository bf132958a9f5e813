"""Do the problems lie to each other at step t as they do at step t'? CKA, RSA and Procrustes of the
recorded states.

Samples are problems, features the recorded hidden state of a step: the mean over masked positions
(`masked`) or over the extracted answer's positions (`answer`). That is another question than
`cka/matrix`, whose samples are the positions of one problem. At most `MAX_PROBLEMS` problems, those
that have the state at every step that any of them has.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import numpy as np

from ..findings.finding import Finding, Material
from ..groups import Groups
from ..limits import (
    ANSWER_OPENS,
    MASKS_END,
    MIN_STATES,
    OF_OPEN,
    OK,
    STEPS_LEFT_OUT,
    lacking,
    status_of,
    undefined,
)
from ..metrics.block import leave_out_own_steps
from ..metrics.trajectories import is_of_blocks
from ..quantity import Quantity

if TYPE_CHECKING:
    from ...engine.store import Run

KINDS = ("cka_states", "rsa", "procrustes")
STATES = ("masked", "answer")
SHAPES = {"matrix": ("step", "other_step"), "consecutive": ("step",), "to_final": ("step",)}
"""What each similarity is given as, and its dimensions. Procrustes of all pairs is too dear."""

OF_LASTING = (
    "; of the problems that run at all steps with a value, the last of which stands for the final "
    "one"
)
"""What labels end with where problems end at different steps."""

MAX_PROBLEMS = 200
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
    quantities: dict[str, Quantity] = {}
    for state in STATES:
        states = read_states(run, f"state_{state}", seed=seed)
        usable = np.zeros(0, int)
        if len(states):
            is_usable = np.isfinite(states).all(axis=(0, 2))
            usable = np.flatnonzero(is_usable)
        status = _status(len(states), len(usable), run)
        if status != OK and len(run) and is_of_blocks(run):
            status = _status_of_blocks(status, state, Groups.of(run.groups).count())
        for kind in KINDS:
            quantities |= _quantities(kind, state, states, usable, steps, status=status)
    return quantities


def _status(n: int, n_usable: int, run: Run) -> str:
    """Of a similarity of `n` problems at so many steps."""
    if n < MIN_STATES:
        if (
            len(run)
            and "performed" in run
            and leave_out_own_steps(np.asarray(run["performed"][...]) == 1)
        ):
            return undefined(STEPS_LEFT_OUT)
        return status_of(lacking(n, MIN_STATES, "problem(s) with the state at every step"))
    if n_usable < 2:
        return status_of("fewer than two steps at which half of the problems have the state")
    return OK


def _status_of_blocks(status: str, state: str, problems: int) -> str:
    """Of a similarity that has none, of a run of so many problems that is decoded block by
    block."""
    if state == "answer":
        return undefined(ANSWER_OPENS)
    return status if problems < MIN_STATES else undefined(MASKS_END)


def read_states(run: Run, name: str, *, seed: int, max_problems: int = MAX_PROBLEMS) -> np.ndarray:
    """[n, step, feature] float32 of a random choice of problems with a value at most steps; [0, 0,
    0] if none has.

    Problems are kept that have the state at all steps at which at least half of the chosen have it.
    """
    states = choose_states(run, name, seed=seed, max_problems=max_problems)
    has_state = np.asarray(np.isfinite(states).all(axis=2))
    is_common = np.zeros(states.shape[1], bool)
    if len(states):
        is_common = has_state.mean(axis=0) >= 0.5
    if not is_common.any():
        return states[:0]
    is_kept = np.asarray(has_state[:, is_common].all(axis=1))
    return states[is_kept]


def choose_states(run: Run, name: str, *, seed: int, max_problems: int) -> np.ndarray:
    """[n, step, feature] float32 of a random choice of problems, NaN where there is no state; [0,
    0, 0] where the run has none. Of several samples of a problem the first stands for it."""
    if name not in run or not len(run):
        return np.zeros((0, 0, 0), np.float32)
    array = run[name]
    per_problem = 4 * int(np.prod(array.shape[1:]))
    affordable = max(STATE_BYTES // max(per_problem, 1), MIN_STATES)
    firsts = Groups.of(run.groups).first_rows()
    count = min(max_problems, affordable, len(firsts))
    rng = np.random.default_rng(seed)
    rows = firsts[np.sort(rng.choice(len(firsts), count, replace=False))]
    return np.asarray(array[rows.tolist()], np.float32)


def cka_states(states: np.ndarray) -> np.ndarray:
    """[step, step] debiased linear CKA (Song et al. 2012, eq. 5) of `states` [problem, step,
    feature]."""
    import torch

    from ...kernels.geometry import cka_matrix

    centred = states - states.mean(axis=0)
    by_step = np.ascontiguousarray(centred.transpose(1, 0, 2))
    features = torch.from_numpy(by_step)
    grams = features @ features.transpose(1, 2)
    matrix = cka_matrix(grams).numpy()
    return np.asarray(matrix.astype(np.float64))


def rsa(states: np.ndarray) -> np.ndarray:
    """[step, step] Spearman correlation of the Euclidean distances of all pairs of problems
    (Kriegeskorte 2008)."""
    from scipy.spatial.distance import pdist
    from scipy.stats import rankdata

    ranks = []
    for step in range(states.shape[1]):
        distances = pdist(states[:, step])
        ranks.append(rankdata(distances))
    with np.errstate(invalid="ignore", divide="ignore"):
        correlation = np.corrcoef(np.stack(ranks))
    return np.asarray(np.atleast_2d(correlation))


def procrustes(first: np.ndarray, second: np.ndarray) -> float:
    """Nuclear norm of X'Y for centred X, Y [problem, feature] of unit Frobenius norm: 1 where a
    rotation, a shift and one scale turn X into Y, 0 where they are orthogonal (Schönemann 1966;
    Ding et al. 2021: distance 2 - 2 of this)."""
    x = first - first.mean(axis=0)
    y = second - second.mean(axis=0)
    with np.errstate(invalid="ignore", divide="ignore"):
        unit_x = x / np.linalg.norm(x)
        unit_y = y / np.linalg.norm(y)
        product = unit_x.T @ unit_y
    if not np.isfinite(product).all():
        return float("nan")
    return float(np.linalg.norm(product, "nuc"))


def shapes_of(kind: str) -> dict[str, tuple[str, ...]]:
    """What a similarity of this kind is given as, and the dimensions."""
    shapes = dict(SHAPES)
    if kind == "procrustes":
        del shapes["matrix"]
    return shapes


def _quantities(
    kind: str, state: str, states: np.ndarray, usable: np.ndarray, steps: int, *, status: str
) -> dict[str, Quantity]:
    parts = _parts(kind, states, usable) if status == OK else {}

    quantities = {}
    meaning = MEANING[kind].format(state=state)
    for which, dims in shapes_of(kind).items():
        shape = (steps,) * len(dims)
        nothing = np.full(shape, np.nan)
        quantities[f"{kind}/{state}_{which}"] = Quantity(
            parts.get(which, nothing),
            dims,
            units="1",
            n=len(states),
            stderr=None,
            status=status,
            label=f"{meaning}, {which}",
        )
    return quantities


def _parts(kind: str, states: np.ndarray, usable: np.ndarray) -> dict[str, np.ndarray]:
    """The similarity in each of its shapes, NaN at steps that are not `usable`."""
    steps = states.shape[1]
    if kind == "procrustes":
        return _procrustes_parts(states, usable)
    function = cka_states if kind == "cka_states" else rsa
    of_usable = function(states[:, usable])
    matrix = np.full((steps, steps), np.nan)
    matrix[np.ix_(usable, usable)] = of_usable

    consecutive = np.full(steps, np.nan)
    consecutive[usable[1:]] = matrix[usable[1:], usable[:-1]]

    to_final = np.full(steps, np.nan)
    to_final[usable] = matrix[usable, usable[-1]]
    return {"matrix": matrix, "consecutive": consecutive, "to_final": to_final}


def _procrustes_parts(states: np.ndarray, usable: np.ndarray) -> dict[str, np.ndarray]:
    steps = states.shape[1]
    reduced = []
    for step in usable:
        of_step = states[:, step].astype(np.float64)
        reduced.append(_reduced(of_step))

    consecutive = np.full(steps, np.nan)
    for step, before, after in zip(usable[1:], reduced[:-1], reduced[1:], strict=True):
        consecutive[step] = procrustes(before, after)

    to_final = np.full(steps, np.nan)
    last = reduced[-1]
    for step, configuration in zip(usable, reduced, strict=True):
        to_final[step] = procrustes(configuration, last)
    return {"consecutive": consecutive, "to_final": to_final}


def _reduced(states: np.ndarray) -> np.ndarray:
    """The same configuration in at most as many dimensions as there are problems (exact: distances
    are kept)."""
    if states.shape[1] <= len(states):
        return states
    centred = states - states.mean(axis=0)
    values, vectors = np.linalg.eigh(centred @ centred.T)
    values = np.maximum(values, 0.0)  # rounding below zero, not an estimate
    return np.asarray(vectors * np.sqrt(values))


def _make(material: Material) -> dict[str, Quantity]:
    quantities = similarities(
        material.run, steps=material.steps, seed=material.settings.analysis_seed
    )
    if material.trajectories.of_blocks:
        quantities = {
            name: each._replace(label=each.label + OF_OPEN) for name, each in quantities.items()
        }
    if not material.trajectories.ends_differ:
        return quantities
    return {name: each._replace(label=each.label + OF_LASTING) for name, each in quantities.items()}


def _names() -> Iterator[str]:
    for state in STATES:
        for kind in KINDS:
            for which in shapes_of(kind):
                yield f"{kind}/{state}_{which}"


FINDING = Finding(tuple(_names()), _make)
