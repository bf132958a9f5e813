"""Nearest neighbours and range counts from blocks of all distances, by torch, on a GPU where there
is one and it pays.

Distances are `torch.cdist` with p = inf in float64, which takes the largest |difference| of a
column and rounds nothing else.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

import numpy as np

from ...engine.optional_parts import warn_failed_use

if TYPE_CHECKING:
    import torch

GPU_POINTS = 5000
"""Below so many points a GPU does not pay."""

BLOCK_ENTRIES = 2**22
"""Distances that one block holds at a time (32 MiB)."""


def nearest(points: np.ndarray, k: int) -> np.ndarray:
    """[n, k] ids of the k nearest others of each of `points` [n, d] float64, nearest first."""
    return _where_it_works(points, lambda device: _nearest_on(device, points, k))


def count_within(points: np.ndarray, radius: np.ndarray, *, closed: bool) -> np.ndarray:
    """[n] how many others lie at a distance < `radius` [n] (`closed`: <=) of each of `points`."""
    return _where_it_works(points, lambda device: _count_on(device, points, radius, closed))


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


def _nearest_on(device: str, points: np.ndarray, k: int) -> np.ndarray:
    import torch

    ids = np.empty((len(points), k), np.int64)
    for rows, distance in _blocks(points, device):
        own = torch.arange(rows.start, rows.stop, device=distance.device)
        distance[own - rows.start, own] = torch.inf
        closest = distance.topk(k, largest=False)
        ids[rows] = closest.indices.cpu().numpy()
    return ids


def _count_on(device: str, points: np.ndarray, radius: np.ndarray, closed: bool) -> np.ndarray:
    import torch

    counts = np.empty(len(points), np.int64)
    for rows, distance in _blocks(points, device):
        reach = torch.as_tensor(radius[rows, None], device=distance.device)
        is_near = distance <= reach if closed else distance < reach
        own = torch.arange(rows.start, rows.stop, device=distance.device)
        is_near[own - rows.start, own] = False
        number = is_near.sum(1)
        counts[rows] = number.cpu().numpy()
    return counts


def _blocks(points: np.ndarray, device: str) -> Iterator[tuple[slice, torch.Tensor]]:
    """(rows, their distances to all points [rows, n]) in blocks on `device`."""
    import torch

    everyone = torch.as_tensor(points, device=device)
    n = len(points)
    size = max(1, BLOCK_ENTRIES // n)
    for start in range(0, n, size):
        end = min(start + size, n)
        rows = slice(start, end)
        distances = torch.cdist(everyone[rows], everyone, p=torch.inf)
        yield rows, distances
