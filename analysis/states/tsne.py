"""One joint t-SNE map of all steps: rows are (problem, step), the vector is a recorded hidden
state.

Fitted once on all rows together, so that steps can be compared; maps that are fitted apart cannot.
PCA to 50 dimensions first (by the Gram matrix where there are more features than rows: the same
thing), PCA initialisation, learning rate n / 12 (Kobak and Berens 2019). Distances between clusters
and cluster sizes in such a map mean nothing; how many true neighbours it keeps is measured and
printed. openTSNE does it on CPU. With a GPU and cuML, cuML does; that path has not been run by us
on a GPU. A tool that does not import or fails at work gives way to the next with a warning.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from ...engine.optional_parts import in_short, optional_part, warn_failed_use
from ..limits import MIN_MAP_ROWS, lacking, status_of
from .similarity import read_states

if TYPE_CHECKING:
    from ...engine.store import Run

MAX_ROWS = 2400
"""Rows of the map: 15 to 20 CPU-seconds. At most 20 000 make sense for openTSNE."""
PCA_DIMENSIONS = 50
PERPLEXITY = 30.0
NEIGHBOURS = 10
SEED = 42
MISSING = "openTSNE is not installed; pip install openTSNE (or the extra `cpu`)"
WITHOUT_CUML = "openTSNE draws the map on the CPU"
WITHOUT_OPEN_TSNE = "there is no t-SNE map"

Fit = Callable[[np.ndarray, float, int], np.ndarray]
"""From PCA coordinates [row, component], perplexity and seed to the points [row, 2] of a map."""


class Embedding(NamedTuple):
    """`points` [row, 2], `step` and `problem` [row] (number among the chosen problems), `centroid`
    [step, 2].

    `kept`: share of the 10 nearest neighbours among the PCA coordinates that are still among the 10
    nearest on the map. `chance`: the same for a map that knows nothing, 10 / (n - 1). `warnings`:
    the tools that failed, and why.
    """

    points: np.ndarray
    step: np.ndarray
    problem: np.ndarray
    centroid: np.ndarray
    kept: float
    chance: float
    perplexity: float
    state: str
    tool: str
    status: str
    warnings: tuple[str, ...] = ()


def embed_run(run: Run, *, steps: int, seed: int = SEED, max_rows: int = MAX_ROWS) -> Embedding:
    """Map the answer's states of `run`, or the masked positions' where no answer was extracted."""
    for name in ("state_answer", "state_masked"):
        states = read_states(run, name, seed=seed, max_problems=max(max_rows // max(steps, 1), 1))
        step, problem, rows = _rows(states)
        if len(rows) >= MIN_MAP_ROWS:
            return embed(rows, step, problem, steps=steps, seed=seed, state=name)
    return _nothing(steps, lacking(len(rows), MIN_MAP_ROWS, "rows with a recorded state"))


def embed(
    rows: np.ndarray,
    step: np.ndarray,
    problem: np.ndarray,
    *,
    steps: int,
    seed: int = SEED,
    state: str = "",
) -> Embedding:
    """t-SNE of `rows` [row, feature]."""
    reduced = pca(rows, PCA_DIMENSIONS)
    perplexity = min(PERPLEXITY, (len(rows) - 1) / 3)
    points, tool, failures = _fit_with_the_first(reduced, perplexity, seed)
    if points is None:
        reason = "; ".join(failures) or MISSING
        return _nothing(steps, reason)._replace(warnings=failures)
    centroid = np.full((steps, 2), np.nan)
    for each in np.unique(step):
        centroid[each] = points[step == each].mean(axis=0)
    kept = neighbours_kept(reduced, points)
    return Embedding(
        points,
        step,
        problem,
        centroid,
        kept,
        NEIGHBOURS / (len(rows) - 1),
        perplexity,
        state,
        tool,
        "ok",
        failures,
    )


def pca(rows: np.ndarray, dimensions: int) -> np.ndarray:
    """[row, at most `dimensions`] principal components, each with its largest entry positive so
    that signs are fixed.

    With as many dimensions as rows it is an isometry: all distances are kept.
    """
    centred = rows.astype(np.float64) - rows.mean(axis=0, dtype=np.float64)
    if centred.shape[1] <= len(centred):
        _, vectors = np.linalg.eigh(centred.T @ centred)
        scores = centred @ vectors[:, ::-1][:, :dimensions]
    else:
        values, vectors = np.linalg.eigh(centred @ centred.T)
        scores = (vectors * np.sqrt(np.maximum(values, 0.0)))[:, ::-1][:, :dimensions]
    largest = np.abs(scores).argmax(axis=0)
    return scores * np.where(scores[largest, np.arange(scores.shape[1])] < 0, -1.0, 1.0)


def neighbours_kept(before: np.ndarray, after: np.ndarray, *, k: int = NEIGHBOURS) -> float:
    """Mean share of each row's k nearest neighbours (itself excluded by number) that it has in both
    spaces."""
    both = zip(_nearest(before, k), _nearest(after, k), strict=True)
    return float(np.mean([len(np.intersect1d(one, other)) / k for one, other in both]))


def _nearest(points: np.ndarray, k: int) -> np.ndarray:
    squares = (points**2).sum(axis=1)
    found = np.empty((len(points), k), np.int64)
    for first in range(0, len(points), 1024):
        rows = np.arange(first, min(first + 1024, len(points)))
        distance = squares[None, :] - 2.0 * points[rows] @ points.T
        distance[np.arange(len(rows)), rows] = np.inf
        found[rows] = np.argpartition(distance, k, axis=1)[:, :k]
    return found


def _rows(states: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    problems, steps = states.shape[:2]
    problem, step = (index.ravel() for index in np.indices((problems, steps)))
    flat = states.reshape(problems * steps, states.shape[2])
    known = np.isfinite(flat).all(axis=1) if flat.size else np.zeros(len(flat), bool)
    return step[known], problem[known], flat[known]


def _fit_with_the_first(
    rows: np.ndarray, perplexity: float, seed: int
) -> tuple[np.ndarray | None, str, tuple[str, ...]]:
    """The points [row, 2] by the first tool that works, its name, and what the tools before it
    failed of."""
    failures: list[str] = []
    for tool, instead, load in _tools():
        fit, failure = load()
        if fit is None:
            failures += [failure] if failure else []
            continue
        try:
            points = fit(rows, perplexity, seed)
            if points.shape != (len(rows), 2) or not np.isfinite(points).all():
                raise ValueError(f"a map of shape {points.shape} with {np.isnan(points).sum()} NaN")
        except (
            Exception
        ) as error:  # an hour of analysis must not end in the traceback of a picture's tool
            failures.append(warn_failed_use(tool, error, instead=instead))
            continue
        return points, tool, tuple(failures)
    return None, "", tuple(failures)


def _tools() -> Iterator[tuple[str, str, Callable[[], tuple[Fit | None, str]]]]:
    """Name, what is done without it, and a function that loads it; the best first."""
    if _cuda():
        yield "cuML", WITHOUT_CUML, functools.partial(_load, "cuml.manifold", _cuml, WITHOUT_CUML)
    yield (
        "openTSNE",
        WITHOUT_OPEN_TSNE,
        functools.partial(_load, "openTSNE", _open_tsne, WITHOUT_OPEN_TSNE),
    )


def _load(module: str, fit: Callable[..., np.ndarray], instead: str) -> tuple[Fit | None, str]:
    """`fit` with the class TSNE of `module`, or None and, where the package is there but unusable,
    why."""
    part = optional_part(module, instead=instead)
    if part.module is None:
        return None, f"{module} {part.reason}; {instead}" if part.installed else ""
    try:
        return functools.partial(fit, part.module.TSNE), ""
    except Exception as error:  # a lazy package raises here
        return None, f"{module} has no TSNE ({in_short(error)}); {instead}"


def _open_tsne(
    tsne: Callable[..., Any], rows: np.ndarray, perplexity: float, seed: int
) -> np.ndarray:
    fitted = tsne(
        perplexity=perplexity,
        initialization="pca",
        learning_rate="auto",
        random_state=seed,
        n_jobs=2,
    ).fit(rows)
    return np.asarray(fitted, np.float64)


def _cuml(tsne: Callable[..., Any], rows: np.ndarray, perplexity: float, seed: int) -> np.ndarray:
    fitted = tsne(
        perplexity=perplexity,
        init="pca",
        random_state=seed,
        learning_rate_method="none",
        learning_rate=max(len(rows) / 12, 200.0),
        n_neighbors=int(3 * perplexity),
        output_type="numpy",
    ).fit_transform(rows.astype(np.float32))
    return np.asarray(fitted, np.float64)


def _cuda() -> bool:
    import torch

    return torch.cuda.is_available()


def _nothing(steps: int, reason: str) -> Embedding:
    none = np.zeros(0, np.int64)
    nan = float("nan")
    return Embedding(
        np.zeros((0, 2)),
        none,
        none,
        np.full((steps, 2), nan),
        nan,
        nan,
        nan,
        "",
        "",
        status_of(reason),
    )
