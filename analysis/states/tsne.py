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
from ..limits import MIN_MAP_ROWS, OK, lacking, status_of
from ..metrics.block import end_step
from .similarity import choose_states

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


class Rows(NamedTuple):
    """The rows of a map: `values` [row, feature], `step` and `problem` [row] (number among the
    chosen problems)."""

    values: np.ndarray
    step: np.ndarray
    problem: np.ndarray


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
    max_problems = max(max_rows // _steps_each(run, steps), 1)
    count = 0
    for name in ("state_answer", "state_masked"):
        states = choose_states(run, name, seed=seed, max_problems=max_problems)
        has_any = np.isfinite(states).all(axis=2).any(axis=1)
        rows = rows_of(states[has_any])
        count = len(rows.values)
        if count >= MIN_MAP_ROWS:
            return embed(rows, steps=steps, seed=seed, state=name)
    return _nothing(steps, lacking(count, MIN_MAP_ROWS, "row(s) with a recorded state"))


def _steps_each(run: Run, steps: int) -> int:
    """Rows that a problem makes: its steps, on average where problems end at different ones."""
    if not len(run):
        return max(steps, 1)
    ends = end_step(np.asarray(run["performed"][...]) == 1)
    if (ends == ends[0]).all():
        return max(steps, 1)
    return max(int(np.ceil(ends.mean() + 1)), 1)


def embed(rows: Rows, *, steps: int, seed: int = SEED, state: str = "") -> Embedding:
    """t-SNE of `rows`."""
    reduced = pca(rows.values, PCA_DIMENSIONS)
    n = len(reduced)
    perplexity = min(PERPLEXITY, (n - 1) / 3)
    points, tool, failures = _fit_with_the_first(reduced, perplexity, seed)
    if points is None:
        reason = "; ".join(failures) or MISSING
        return _nothing(steps, reason)._replace(warnings=failures)

    centroid = np.full((steps, 2), np.nan)
    for step in np.unique(rows.step):
        of_step = points[rows.step == step]
        centroid[step] = of_step.mean(axis=0)

    return Embedding(
        points=points,
        step=rows.step,
        problem=rows.problem,
        centroid=centroid,
        kept=neighbours_kept(reduced, points),
        chance=NEIGHBOURS / (n - 1),
        perplexity=perplexity,
        state=state,
        tool=tool,
        status=OK,
        warnings=failures,
    )


def rows_of(states: np.ndarray) -> Rows:
    """The rows of `states` [problem, step, feature] that are recorded."""
    problems, steps, width = states.shape
    indices = np.indices((problems, steps))
    problem, step = indices.reshape(2, -1)
    values = states.reshape(problems * steps, width)
    recorded = np.zeros(len(values), bool)
    if values.size:
        recorded = np.isfinite(values).all(axis=1)
    return Rows(values[recorded], step[recorded], problem[recorded])


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
        length = np.sqrt(np.maximum(values, 0.0))
        scaled = vectors * length
        scores = scaled[:, ::-1][:, :dimensions]

    largest = np.abs(scores).argmax(axis=0)
    components = np.arange(scores.shape[1])
    is_negative = scores[largest, components] < 0
    signs = np.where(is_negative, -1.0, 1.0)
    return np.asarray(scores * signs)


def neighbours_kept(before: np.ndarray, after: np.ndarray, *, k: int = NEIGHBOURS) -> float:
    """Mean share of each row's k nearest neighbours (itself excluded by number) that it has in both
    spaces."""
    shares = []
    nearest_before = _nearest(before, k)
    nearest_after = _nearest(after, k)
    for ids_before, ids_after in zip(nearest_before, nearest_after, strict=True):
        common = np.intersect1d(ids_before, ids_after)
        shares.append(len(common) / k)
    return float(np.mean(shares))


def _nearest(points: np.ndarray, k: int) -> np.ndarray:
    """[row, k] numbers of the nearest other rows, in no order."""
    squares = (points**2).sum(axis=1)
    neighbours = np.empty((len(points), k), np.int64)
    for first in range(0, len(points), 1024):
        end = min(first + 1024, len(points))
        rows = np.arange(first, end)
        distance = squares[None, :] - 2.0 * points[rows] @ points.T
        distance[np.arange(len(rows)), rows] = np.inf
        order = np.argpartition(distance, k, axis=1)
        neighbours[rows] = order[:, :k]
    return neighbours


def _fit_with_the_first(
    rows: np.ndarray, perplexity: float, seed: int
) -> tuple[np.ndarray | None, str, tuple[str, ...]]:
    """The points [row, 2] by the first tool that works, its name, and what the tools before it
    failed of."""
    failures: list[str] = []
    for tool in _tools():
        fit, failure = _load(tool)
        if fit is None:
            if failure:
                failures.append(failure)
            continue
        try:
            points = fit(rows, perplexity, seed)
            _check_map(points, len(rows))
        # An hour of analysis must not end in the traceback of a picture's tool.
        except Exception as error:
            failures.append(warn_failed_use(tool.name, error, instead=tool.instead))
            continue
        return points, tool.name, tuple(failures)
    return None, "", tuple(failures)


def _check_map(points: np.ndarray, n: int) -> None:
    """ValueError unless `points` are `n` finite points of a plane."""
    if points.shape != (n, 2) or not np.isfinite(points).all():
        missing = np.isnan(points).sum()
        raise ValueError(f"a map of shape {points.shape} with {missing} NaN")


class Tool(NamedTuple):
    """What draws a map: `fit` with the class TSNE of `module`; `instead`: what is done without
    it."""

    name: str
    module: str
    fit: Callable[..., np.ndarray]
    instead: str


def _tools() -> Iterator[Tool]:
    """The best first."""
    if _cuda():
        yield Tool("cuML", "cuml.manifold", _cuml, WITHOUT_CUML)
    yield Tool("openTSNE", "openTSNE", _open_tsne, WITHOUT_OPEN_TSNE)


def _load(tool: Tool) -> tuple[Fit | None, str]:
    """What fits, or None and, where the package is there but unusable, why."""
    part = optional_part(tool.module, instead=tool.instead)
    if part.module is None:
        reason = f"{tool.module} {part.reason}; {tool.instead}" if part.installed else ""
        return None, reason
    try:
        return functools.partial(tool.fit, part.module.TSNE), ""
    except Exception as error:  # a lazy package raises here
        return None, f"{tool.module} has no TSNE ({in_short(error)}); {tool.instead}"


def _open_tsne(
    tsne: Callable[..., Any], rows: np.ndarray, perplexity: float, seed: int
) -> np.ndarray:
    method = tsne(
        perplexity=perplexity,
        initialization="pca",
        learning_rate="auto",
        random_state=seed,
        n_jobs=2,
    )
    fitted = method.fit(rows)
    return np.asarray(fitted, np.float64)


def _cuml(tsne: Callable[..., Any], rows: np.ndarray, perplexity: float, seed: int) -> np.ndarray:
    method = tsne(
        perplexity=perplexity,
        init="pca",
        random_state=seed,
        learning_rate_method="none",
        learning_rate=max(len(rows) / 12, 200.0),
        n_neighbors=int(3 * perplexity),
        output_type="numpy",
    )
    fitted = method.fit_transform(rows.astype(np.float32))
    return np.asarray(fitted, np.float64)


def _cuda() -> bool:
    import torch

    return torch.cuda.is_available()


def _nothing(steps: int, reason: str) -> Embedding:
    nan = float("nan")
    return Embedding(
        points=np.zeros((0, 2)),
        step=np.zeros(0, np.int64),
        problem=np.zeros(0, np.int64),
        centroid=np.full((steps, 2), nan),
        kept=nan,
        chance=nan,
        perplexity=nan,
        state="",
        tool="",
        status=status_of(reason),
    )
