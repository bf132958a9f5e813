"""Nearest neighbours and range counts in the maximum norm, in one arithmetic: float64 differences
of the given columns.

Searches find ids; every distance is recomputed from the ids as max over columns of |p_j - p_i| in
float64, and counts compare that same expression with the radius. A radius that is itself such a
distance is therefore compared exactly. A point is never its own neighbour: it is excluded by id,
because among duplicates it need not come first.

`BACKENDS`: `kdtree` (scipy, exact in float64), `torch` (blocks of distances, exact in float64, any
device), `faiss` (METRIC_Linf in float32, candidates ranked again in float64). `auto` takes faiss on
a GPU that faiss can see; without one the k-d tree up to `TREE_COLUMNS` columns and torch above,
because that is faster there: for 10 000 points in 2, 10 and 20 columns on two cores .01, .3 and 1.5
s (tree), .9, 1.1 and 1.4 s (torch), .7, 1.8 and 3.5 s (faiss-cpu). Where `auto` chose a GPU and it
fails, by faiss or by torch, the same is done on the CPU, with a warning.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

import numpy as np

from ...engine.optional_parts import optional_part, warn_failed_use

if TYPE_CHECKING:
    import torch

TREE_COLUMNS = 12
"""Above so many columns brute force is faster than the k-d tree."""

SPARE = 8
"""How many candidates more than needed are asked of faiss, so that float32 order does not decide.
"""

BLOCK_ENTRIES = 2**22
"""Distances that one block of the torch backend holds at a time (32 MiB)."""

WITHOUT_FAISS = "scipy and torch find the neighbours"

GPU_POINTS = 5000
"""Below so many points a GPU does not pay."""


def nearest(points: np.ndarray, k: int, *, backend: str = "auto") -> np.ndarray:
    """[n, k] ids of the k nearest others of each of `points` [n, d] float64, nearest first.

    Raises ValueError if k is not between 1 and n - 1, for an unknown backend, and for faiss where
    it is not installed or where rows coincide in float32, which it cannot tell apart.
    """
    points = _columns(points)
    if not 1 <= k < len(points):
        raise ValueError(
            f"k is {k}; with {len(points)} points it must be between 1 and {len(points) - 1}"
        )
    chosen = _chosen(backend, points)
    if backend == "auto" and chosen == "faiss":
        try:
            return _nearest_faiss(points, k)
        except (
            Exception
        ) as error:  # a driver that does not fit, a full GPU: faiss raises what CUDA told it
            chosen = _twin(points)
            warn_failed_use("faiss on the GPU", error, instead=f"{chosen} finds the neighbours")
    return _search(chosen)(points, k)


def distances_to(points: np.ndarray, ids: np.ndarray) -> np.ndarray:
    """[n, k] maximum-norm distance of each point to the points `ids` [n, k], in float64."""
    points = _columns(points)
    found = np.zeros(ids.shape)
    for column in points.T:
        np.maximum(found, np.abs(column[ids] - column[:, None]), out=found)
    return found


def count_within(
    points: np.ndarray, radius: np.ndarray, *, closed: bool = False, backend: str = "auto"
) -> np.ndarray:
    """[n] how many others lie at a distance < `radius` [n] (`closed`: <=) of each of `points` [n,
    d]; self excluded."""
    points = _columns(points)
    if points.shape[1] == 1 and backend in ("auto", "kdtree"):
        return _count_sorted(points[:, 0], radius, closed)
    chosen = _chosen("torch" if backend == "faiss" else backend, points)
    if chosen == "kdtree":
        return _count_tree(points, radius, closed)
    return _count_torch(points, radius, closed)


def faiss_module() -> Any:
    """The module faiss, or None where it is not installed or, without CUDA's libraries say, does
    not load."""
    return optional_part("faiss", instead=WITHOUT_FAISS).module


def faiss_on_gpu() -> bool:
    """Whether faiss sees a GPU. Asked before its GPU search is called, which aborts the process
    where there is none."""
    faiss = faiss_module()
    try:
        return faiss is not None and hasattr(faiss, "knn_gpu") and faiss.get_num_gpus() > 0
    except Exception as error:
        warn_failed_use("faiss on the GPU", error, instead=WITHOUT_FAISS)
        return False


def distinct_in_float32(points: np.ndarray) -> bool:
    """Whether all rows of `points` stay different from each other in float32."""
    rows = np.ascontiguousarray(points, np.float32) + np.float32(0)
    return len(np.unique(rows, axis=0)) == len(rows)


def _columns(points: np.ndarray) -> np.ndarray:
    points = np.asarray(points, np.float64)
    return points[:, None] if points.ndim == 1 else points


def _chosen(backend: str, points: np.ndarray) -> str:
    if backend != "auto":
        return backend
    if (
        len(points) >= GPU_POINTS
        and points.shape[1] > 2
        and faiss_on_gpu()
        and distinct_in_float32(points)
    ):
        return "faiss"
    return _twin(points)


def _twin(points: np.ndarray) -> str:
    """What searches without faiss."""
    return "kdtree" if points.shape[1] <= TREE_COLUMNS else "torch"


def _search(backend: str) -> Callable[[np.ndarray, int], np.ndarray]:
    if backend not in BACKENDS:
        raise ValueError(f"unknown backend {backend!r}; known: auto, {', '.join(BACKENDS)}")
    return BACKENDS[backend]


def _nearest_tree(points: np.ndarray, k: int) -> np.ndarray:
    from scipy.spatial import cKDTree

    ids = cKDTree(points).query(points, k=k + 1, p=np.inf)[1]
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
    wanted = min(k + 1 + SPARE, len(points))
    if faiss_on_gpu():
        ids = faiss.knn_gpu(
            faiss.StandardGpuResources(), single, single, wanted, metric=faiss.METRIC_Linf
        )[1]
    else:
        ids = faiss.knn(single, single, wanted, metric=faiss.METRIC_Linf)[1]
    return _without_self(points, ids, k)


def _nearest_torch(points: np.ndarray, k: int) -> np.ndarray:
    return _where_it_works(points, lambda device: _nearest_on(device, points, k))


def _nearest_on(device: str, points: np.ndarray, k: int) -> np.ndarray:
    import torch

    ids = np.empty((len(points), k), np.int64)
    for first, distance in _blocks(points, device):
        rows = torch.arange(len(distance), device=distance.device)
        distance[rows, first + rows] = torch.inf
        ids[first : first + len(distance)] = distance.topk(k, largest=False).indices.cpu().numpy()
    return ids


BACKENDS: dict[str, Callable[[np.ndarray, int], np.ndarray]] = {
    "kdtree": _nearest_tree,
    "torch": _nearest_torch,
    "faiss": _nearest_faiss,
}


def _without_self(points: np.ndarray, ids: np.ndarray, k: int) -> np.ndarray:
    """The k nearest of the candidates `ids` [n, more than k] that are not the point itself; order
    by float64."""
    distance = distances_to(points, ids)
    distance[ids == np.arange(len(points))[:, None]] = np.inf
    order = np.argsort(distance, axis=1, kind="stable")[:, :k]
    return np.take_along_axis(ids, order, axis=1).astype(np.int64)


def _count_sorted(values: np.ndarray, radius: np.ndarray, closed: bool) -> np.ndarray:
    """One column: binary search for value -+ radius, then the edges moved until |difference| itself
    agrees.

    The sum value + radius is rounded, so that the search alone may let in a point that lies exactly
    on the edge.
    """
    order = np.argsort(values, kind="stable")
    ordered = values[order]
    reach = radius[order]
    low = np.searchsorted(ordered, ordered - reach, side="left")
    high = np.searchsorted(ordered, ordered + reach, side="right") - 1
    low = _settled(ordered, low, reach, closed, -1)
    high = _settled(ordered, high, reach, closed, +1)
    counts = np.empty(len(values), np.int64)
    # The point itself lies in its own range, except in an open one of radius 0.
    counts[order] = np.where((reach > 0) | closed, high - low, 0)
    return counts


def _settled(
    ordered: np.ndarray, edge: np.ndarray, reach: np.ndarray, closed: bool, outward: int
) -> np.ndarray:
    """The outermost index in direction `outward` that is within reach of each point."""
    last = len(ordered) - 1
    here = np.arange(len(ordered))

    def within(index: np.ndarray) -> np.ndarray:
        distance = np.abs(ordered[np.minimum(np.maximum(index, 0), last)] - ordered)
        near = distance <= reach if closed else distance < reach
        return near & (index >= 0) & (index <= last)

    edge = edge.copy()
    while (wide := ~within(edge) & (edge * outward > here * outward)).any():
        edge[wide] -= outward
    while (narrow := within(edge + outward)).any():
        edge[narrow] += outward
    return edge


def _count_tree(points: np.ndarray, radius: np.ndarray, closed: bool) -> np.ndarray:
    from scipy.spatial import cKDTree

    # The tree counts <=; the largest float below the radius makes that <. A radius of 0 has nothing
    # below it.
    reach = radius if closed else np.nextafter(radius, 0.0)
    counts = cKDTree(points).query_ball_point(points, reach, p=np.inf, return_length=True)
    return np.where((radius > 0) | closed, counts - 1, 0).astype(np.int64)


def _count_torch(points: np.ndarray, radius: np.ndarray, closed: bool) -> np.ndarray:
    return _where_it_works(points, lambda device: _count_on(device, points, radius, closed))


def _count_on(device: str, points: np.ndarray, radius: np.ndarray, closed: bool) -> np.ndarray:
    import torch

    counts = np.empty(len(points), np.int64)
    for first, distance in _blocks(points, device):
        reach = torch.as_tensor(radius[first : first + len(distance), None], device=distance.device)
        near = distance <= reach if closed else distance < reach
        rows = torch.arange(len(distance), device=distance.device)
        near[rows, first + rows] = False
        counts[first : first + len(distance)] = near.sum(1).cpu().numpy()
    return counts


def _where_it_works(points: np.ndarray, compute: Callable[[str], np.ndarray]) -> np.ndarray:
    """`compute` on the GPU where there is one and it pays, on the CPU otherwise and where the GPU
    fails."""
    import torch

    if len(points) >= GPU_POINTS and torch.cuda.is_available():
        try:
            return compute("cuda")
        except RuntimeError as error:  # another process may hold the GPU's memory
            warn_failed_use("torch on the GPU", error, instead="distances are computed on the CPU")
    return compute("cpu")


def _blocks(points: np.ndarray, device: str) -> Iterator[tuple[int, torch.Tensor]]:
    """(first row, distances [rows, n]) in blocks on `device`."""
    import torch

    everyone = torch.as_tensor(points, device=device)
    size = max(1, BLOCK_ENTRIES // len(points))
    for first in range(0, len(points), size):
        yield first, torch.cdist(everyone[first : first + size], everyone, p=torch.inf)
