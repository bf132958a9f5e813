"""How many points lie within a radius of each point, in the maximum norm.

One column is sorted and searched; several are counted by the k-d tree or by torch, as neighbors.py
chooses. All compare the same float64 differences that `distances_to` returns.
"""

from __future__ import annotations

import numpy as np

from . import torch_distances
from .neighbors import as_columns, backend_for


def count_within(
    points: np.ndarray,
    radius: np.ndarray,
    *,
    closed: bool = False,
    backend: str = "auto",
) -> np.ndarray:
    """[n] how many others lie at a distance < `radius` [n] (`closed`: <=) of each of `points` [n,
    d]; self excluded. What faiss would search is counted by torch."""
    points = as_columns(points)
    if points.shape[1] == 1 and backend in ("auto", "kdtree"):
        return _count_sorted(points[:, 0], radius, closed)
    if backend_for(points, backend) == "kdtree":
        return _count_tree(points, radius, closed)
    return torch_distances.count_within(points, radius, closed=closed)


def _count_tree(points: np.ndarray, radius: np.ndarray, closed: bool) -> np.ndarray:
    from scipy.spatial import cKDTree

    # The tree counts <=; the largest float below the radius makes that <. A radius of 0 has nothing
    # below it.
    reach = radius if closed else np.nextafter(radius, 0.0)
    counts = cKDTree(points).query_ball_point(points, reach, p=np.inf, return_length=True)
    return np.where((radius > 0) | closed, counts - 1, 0).astype(np.int64)


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
    ordered: np.ndarray,
    edge: np.ndarray,
    reach: np.ndarray,
    closed: bool,
    outward: int,
) -> np.ndarray:
    """The outermost index in direction `outward` that is within reach of each point."""
    last = len(ordered) - 1
    own = np.arange(len(ordered))

    def within(index: np.ndarray) -> np.ndarray:
        neighbour = ordered[np.clip(index, 0, last)]
        distance = np.abs(neighbour - ordered)
        near = distance <= reach if closed else distance < reach
        is_near: np.ndarray = near & (index >= 0) & (index <= last)
        return is_near

    edge = edge.copy()
    while True:
        beyond = ~within(edge) & (edge * outward > own * outward)
        if not beyond.any():
            break
        edge[beyond] -= outward
    while True:
        short = within(edge + outward)
        if not short.any():
            return edge
        edge[short] += outward
