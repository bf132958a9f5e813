"""Nearest neighbours in the maximum norm, in one arithmetic: float64 differences of the given
columns.

Searches find ids; every distance is recomputed from the ids as max over columns of |p_j - p_i| in
float64. range_counts.py compares that same expression with the radius, so that a radius which is
itself such a distance is compared exactly. A point is never its own neighbour: it is excluded by
id, because among duplicates it need not come first.

`BACKENDS`: `kdtree` (scipy, exact in float64), `torch` (blocks of distances, exact in float64, any
device), `faiss` (METRIC_Linf in float32, candidates ranked again in float64). `auto` takes faiss on
a GPU that faiss can see; without one the k-d tree up to `TREE_COLUMNS` columns and torch above,
because that is faster there: for 10 000 points in 2, 10 and 20 columns on two cores .01, .3 and 1.5
s (tree), .9, 1.1 and 1.4 s (torch), .7, 1.8 and 3.5 s (faiss-cpu). Where `auto` chose a GPU and it
fails, by faiss or by torch, the same is done on the CPU, with a warning.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from ...engine.optional_parts import optional_part, warn_failed_use
from . import torch_distances

TREE_COLUMNS = 12
"""Above so many columns brute force is faster than the k-d tree."""

SPARE = 8
"""How many candidates more than needed are asked of faiss, so that float32 order does not decide.
"""

WITHOUT_FAISS = "scipy and torch find the neighbours"


def nearest(points: np.ndarray, k: int, *, backend: str = "auto") -> np.ndarray:
    """[n, k] ids of the k nearest others of each of `points` [n, d] float64, nearest first.

    Raises ValueError if k is not between 1 and n - 1, for an unknown backend, and for faiss where
    it is not installed or where rows coincide in float32, which it cannot tell apart.
    """
    points = as_columns(points)
    n = len(points)
    if not 1 <= k < n:
        raise ValueError(f"k is {k}; with {n} points it must be between 1 and {n - 1}")
    chosen = backend_for(points, backend)
    if chosen not in BACKENDS:
        raise ValueError(f"unknown backend {chosen!r}; known: auto, {', '.join(BACKENDS)}")
    if backend == "auto" and chosen == "faiss":
        return _nearest_faiss_or_cpu(points, k)
    return BACKENDS[chosen](points, k)


def distances_to(points: np.ndarray, ids: np.ndarray) -> np.ndarray:
    """[n, k] maximum-norm distance of each point to the points `ids` [n, k], in float64."""
    largest = np.zeros(ids.shape)
    for column in as_columns(points).T:
        difference = np.abs(column[ids] - column[:, None])
        np.maximum(largest, difference, out=largest)
    return largest


def as_columns(points: np.ndarray) -> np.ndarray:
    """`points` [n] or [n, d] as [n, d] float64."""
    points = np.asarray(points, np.float64)
    return points[:, None] if points.ndim == 1 else points


def backend_for(points: np.ndarray, backend: str) -> str:
    """What "auto" stands for with these points [n, d]; any other name as it is."""
    if backend != "auto":
        return backend
    is_large = len(points) >= torch_distances.GPU_POINTS and points.shape[1] > 2
    if is_large and faiss_on_gpu() and distinct_in_float32(points):
        return "faiss"
    return _without_faiss(points)


def _without_faiss(points: np.ndarray) -> str:
    return "kdtree" if points.shape[1] <= TREE_COLUMNS else "torch"


def faiss_module() -> Any:
    """The module faiss, or None where it is not installed or, without CUDA's libraries say, does
    not load."""
    return optional_part("faiss", instead=WITHOUT_FAISS).module


def faiss_on_gpu() -> bool:
    """Whether faiss sees a GPU. Asked before its GPU search is called, which aborts the process
    where there is none."""
    faiss = faiss_module()
    if faiss is None or not hasattr(faiss, "knn_gpu"):
        return False
    try:
        return bool(faiss.get_num_gpus() > 0)
    except Exception as error:
        warn_failed_use("faiss on the GPU", error, instead=WITHOUT_FAISS)
        return False


def distinct_in_float32(points: np.ndarray) -> bool:
    """Whether all rows of `points` stay different from each other in float32."""
    rows = np.ascontiguousarray(points, np.float32) + np.float32(0)  # -0 and 0 are one value
    return len(np.unique(rows, axis=0)) == len(rows)


def _nearest_faiss_or_cpu(points: np.ndarray, k: int) -> np.ndarray:
    try:
        return _nearest_faiss(points, k)
    except Exception as error:  # a driver that does not fit, a full GPU: what CUDA told faiss
        other = _without_faiss(points)
        warn_failed_use("faiss on the GPU", error, instead=f"{other} finds the neighbours")
        return BACKENDS[other](points, k)


def _nearest_tree(points: np.ndarray, k: int) -> np.ndarray:
    from scipy.spatial import cKDTree

    _, ids = cKDTree(points).query(points, k=k + 1, p=np.inf)
    return _without_self(points, ids, k)


def _nearest_faiss(points: np.ndarray, k: int) -> np.ndarray:
    part = optional_part("faiss", instead=WITHOUT_FAISS)
    faiss = part.module
    if faiss is None:
        remedy = "mend it" if part.installed else "pip install faiss-cpu"
        raise ValueError(f"backend faiss {part.reason}; {remedy}, or use backend='torch'")
    if not distinct_in_float32(points):
        raise ValueError(
            "faiss works in float32, where rows of these points coincide; use backend='torch' or "
            "'kdtree'"
        )
    single = np.ascontiguousarray(points, np.float32)
    number = min(k + 1 + SPARE, len(points))
    norm = faiss.METRIC_Linf
    if faiss_on_gpu():
        resources = faiss.StandardGpuResources()
        _, ids = faiss.knn_gpu(resources, single, single, number, metric=norm)
    else:
        _, ids = faiss.knn(single, single, number, metric=norm)
    return _without_self(points, ids, k)


def _without_self(points: np.ndarray, ids: np.ndarray, k: int) -> np.ndarray:
    """The k nearest of the candidates `ids` [n, more than k] that are not the point itself; order
    by float64."""
    distance = distances_to(points, ids)
    own = np.arange(len(points))[:, None]
    distance[ids == own] = np.inf
    order = np.argsort(distance, axis=1, kind="stable")[:, :k]
    return np.take_along_axis(ids, order, axis=1).astype(np.int64)


BACKENDS: dict[str, Callable[[np.ndarray, int], np.ndarray]] = {
    "kdtree": _nearest_tree,
    "torch": torch_distances.nearest,
    "faiss": _nearest_faiss,
}
