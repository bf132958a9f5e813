"""Neighbours and counts against brute force, on backends, ties and edges where rounding decides."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from diffengine.analysis.information import neighbors, torch_distances
from diffengine.analysis.information.neighbors import distances_to, distinct_in_float32, nearest
from diffengine.analysis.information.range_counts import count_within
from diffengine.engine.optional_parts import Part

BACKENDS = list(neighbors.BACKENDS)


def brute(points: np.ndarray) -> np.ndarray:
    return np.abs(points[:, None, :] - points[None, :, :]).max(axis=2)


def others_within(points: np.ndarray, radius: np.ndarray, closed: bool) -> np.ndarray:
    distance = brute(points)
    near = distance <= radius[:, None] if closed else distance < radius[:, None]
    np.fill_diagonal(near, False)
    return near.sum(axis=1)


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("d", [1, 2, 6, 20])
def test_nearest(backend: str, d: int) -> None:
    points = np.random.default_rng(d).normal(size=(300, d))
    distance = brute(points)
    np.fill_diagonal(distance, np.inf)
    ids = nearest(points, 5, backend=backend)
    np.testing.assert_array_equal(ids, np.argsort(distance, axis=1)[:, :5])
    np.testing.assert_array_equal(distances_to(points, ids), np.sort(distance, axis=1)[:, :5])


@pytest.mark.parametrize("backend", ["auto", "kdtree", "torch"])
@pytest.mark.parametrize("closed", [False, True])
@pytest.mark.parametrize("d", [1, 2, 5])
def test_counts_where_the_radius_is_a_distance(backend: str, closed: bool, d: int) -> None:
    """The k-th neighbour lies exactly on the edge of every ball: open must leave it out, closed let
    it in."""
    for seed in range(5):
        points = np.random.default_rng([seed, d]).normal(size=(200, d)) * 10.0 ** (seed - 2)
        radius = distances_to(points, nearest(points, 3))[:, -1]
        found = count_within(points, radius, closed=closed, backend=backend)
        np.testing.assert_array_equal(found, others_within(points, radius, closed))
        if d > 1:
            other = np.random.default_rng(seed).normal(size=(200, 1))
            joint = np.concatenate([points, other], axis=1)
            wide = distances_to(joint, nearest(joint, 3))[:, -1]
            np.testing.assert_array_equal(
                count_within(points, wide, closed=closed, backend=backend),
                others_within(points, wide, closed),
            )


@pytest.mark.parametrize("backend", ["auto", "torch"])
@pytest.mark.parametrize("closed", [False, True])
def test_counts_on_a_grid(backend: str, closed: bool) -> None:
    """Many points at the same place and many exactly on the edge, radius 0 among them."""
    points = np.random.default_rng(0).integers(0, 9, 300)[:, None] * 0.1
    for radius in (np.zeros(300), np.full(300, 0.1), np.full(300, 0.3), np.full(300, 5.0)):
        found = count_within(points, radius, closed=closed, backend=backend)
        np.testing.assert_array_equal(found, others_within(points, radius, closed))


@pytest.mark.parametrize("backend", ["kdtree", "torch"])
def test_a_point_among_its_duplicates_is_not_its_own_neighbour(backend: str) -> None:
    points = np.repeat(np.random.default_rng(0).normal(size=(20, 3)), 10, axis=0)
    ids = nearest(points, 4, backend=backend)
    assert (ids != np.arange(200)[:, None]).all()
    np.testing.assert_array_equal(distances_to(points, ids), 0)


def test_faiss_refuses_what_float32_cannot_tell_apart() -> None:
    points = 1 + 1e-10 * np.random.default_rng(0).normal(size=(50, 2))
    assert not distinct_in_float32(points) and distinct_in_float32(points - 1)
    with pytest.raises(ValueError, match="coincide"):
        nearest(points, 3, backend="faiss")
    np.testing.assert_array_equal(
        nearest(points, 3, backend="kdtree"), nearest(points, 3, backend="torch")
    )


@pytest.mark.parametrize("error", ["ImportError", "RuntimeError", "OSError", "AttributeError"])
def test_a_faiss_that_does_not_import(
    error: str, planted: Callable[..., None], caplog: pytest.LogCaptureFixture
) -> None:
    """Without CUDA's libraries it raises RuntimeError or OSError; neither ends an analysis."""
    planted(faiss=f"raise {error}('libcudart.so.12: cannot open shared object file')")
    points = np.random.default_rng(0).normal(size=(50, 2))
    assert neighbors.faiss_module() is None and not neighbors.faiss_on_gpu()
    assert nearest(points, 3).shape == (50, 3)
    assert (
        caplog.text.count("faiss is installed but does not import") == 1
        and "libcudart" in caplog.text
    )
    with pytest.raises(
        ValueError, match=rf"faiss does not import \({error}: libcudart.*use backend='torch'"
    ):
        nearest(points, 3, backend="faiss")


def test_without_faiss(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(
        neighbors, "optional_part", lambda *_, **__: Part(None, False, "is not installed")
    )
    assert neighbors.faiss_module() is None and not neighbors.faiss_on_gpu()
    with pytest.raises(ValueError, match="faiss is not installed; pip install faiss-cpu"):
        nearest(np.zeros((50, 2)), 3, backend="faiss")


FAILING_GPU = """
METRIC_Linf = 0
def get_num_gpus():
    return 1
class StandardGpuResources:
    pass
def knn_gpu(*arguments, **keywords):
    raise RuntimeError('CUDA driver version is insufficient for CUDA runtime version')
"""


def test_a_gpu_that_fails_gives_way_to_the_cpu(
    planted: Callable[..., None], monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    planted(faiss=FAILING_GPU)
    monkeypatch.setattr(torch_distances, "GPU_POINTS", 10)
    points = np.random.default_rng(0).normal(size=(60, 3))
    np.testing.assert_array_equal(nearest(points, 4), nearest(points, 4, backend="kdtree"))
    assert (
        "faiss on the GPU failed when it was used" in caplog.text
        and "driver version" in caplog.text
    )
    planted(faiss=FAILING_GPU.replace("return 1", "raise RuntimeError('no driver')"))
    assert not neighbors.faiss_on_gpu() and "no driver" in caplog.text
    with pytest.raises(
        RuntimeError, match="driver version"
    ):  # asked for by name, it says what is wrong
        planted(faiss=FAILING_GPU)
        nearest(points, 4, backend="faiss")


def test_torch_without_memory_on_the_gpu(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    import torch

    monkeypatch.setattr(torch_distances, "GPU_POINTS", 10)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    real = torch.as_tensor

    def full(values: Any, **keywords: Any) -> Any:
        if keywords.get("device") == "cuda":
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 MiB")
        return real(values, **keywords)

    monkeypatch.setattr(torch, "as_tensor", full)
    points = np.random.default_rng(0).normal(size=(60, 3))
    radius = np.full(60, 0.5)
    np.testing.assert_array_equal(
        nearest(points, 4, backend="torch"), nearest(points, 4, backend="kdtree")
    )
    counts = count_within(points, radius, backend="torch")
    np.testing.assert_array_equal(counts, count_within(points, radius, backend="kdtree"))
    assert "torch on the GPU failed when it was used (OutOfMemoryError" in caplog.text


def test_errors() -> None:
    points = np.zeros((5, 1))
    with pytest.raises(ValueError, match="k is 5; with 5 points it must be between 1 and 4"):
        nearest(points, 5)
    with pytest.raises(ValueError, match="unknown backend 'annoy'; known: auto, kdtree"):
        nearest(points, 1, backend="annoy")


def test_far_from_zero_in_many_columns() -> None:
    """Squared norms would lose these distances; differences of float64 do not."""
    points = 200 + np.random.default_rng(0).normal(size=(300, 64))
    distance = brute(points)
    np.fill_diagonal(distance, np.inf)
    np.testing.assert_array_equal(nearest(points, 3), np.argsort(distance, axis=1)[:, :3])


@pytest.mark.gpu
def test_gpu_agrees() -> None:
    points = np.random.default_rng(0).normal(size=(6000, 4))
    found = nearest(points, 5, backend="torch")
    np.testing.assert_array_equal(found, nearest(points, 5, backend="kdtree"))
    if neighbors.faiss_on_gpu():
        np.testing.assert_array_equal(found, nearest(points, 5, backend="faiss"))
