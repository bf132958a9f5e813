"""Distances, components and moments of logits from hidden states, against the logits themselves in
float64."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import torch

from diffengine.kernels.geometry import LogitGeometry, cka_matrix

N, D, V = 60, 24, 1500


@pytest.fixture
def head() -> torch.Tensor:
    generator = torch.Generator().manual_seed(0)
    return torch.randn(V, D, generator=generator) * torch.logspace(0, -2, D) + 0.05


@pytest.fixture
def hidden() -> torch.Tensor:
    return torch.randn(N, D, generator=torch.Generator().manual_seed(1)) + 20.0


def logits_of(hidden: torch.Tensor, head: torch.Tensor) -> torch.Tensor:
    return hidden.double() @ head.double().T


def test_distances_of_near_neighbours_keep_their_digits(
    head: torch.Tensor, hidden: torch.Tensor
) -> None:
    near = hidden[:1] + 1e-3 * torch.randn(N, D, generator=torch.Generator().manual_seed(2))
    x = logits_of(near, head)
    exact = (x[:, None] - x[None, :]).norm(dim=-1)
    apart = ~torch.eye(N, dtype=torch.bool)
    relative = ((LogitGeometry(head).distances(near).double() - exact).abs() / exact)[apart].max()
    expanded = torch.cdist(x.float(), x.float(), compute_mode="use_mm_for_euclid_dist").double()
    assert relative < 2e-5
    assert ((expanded - exact).abs() / exact)[apart].max() > 0.01  # the trap: squares expanded
    rounded = x.bfloat16().double()
    steps = (rounded[1:] - rounded[:-1]).norm(dim=-1)
    assert (
        (steps - exact.diagonal(1)).abs() / exact.diagonal(1)
    ).max() > 0.1  # and that of rounded logits
    lengths = LogitGeometry(head).step_lengths(near)
    torch.testing.assert_close(lengths.double(), exact.diagonal(1), rtol=2e-5, atol=0)


def test_distances_within_clusters_that_lie_apart(head: torch.Tensor, hidden: torch.Tensor) -> None:
    """Centring does not help here; only taking differences first does."""
    side = 20.0 * (torch.arange(N) % 2 * 2 - 1)[:, None]
    near = side + 1e-2 * torch.randn(N, D, generator=torch.Generator().manual_seed(5))
    x = logits_of(near, head)
    exact = (x[:, None] - x[None, :]).norm(dim=-1)
    apart = ~torch.eye(N, dtype=torch.bool)
    assert ((LogitGeometry(head).distances(near).double() - exact).abs() / exact)[
        apart
    ].max() < 1e-3


def test_distances_to_others(head: torch.Tensor, hidden: torch.Tensor) -> None:
    x = logits_of(hidden, head)
    found = LogitGeometry(head).distances(hidden[:5], hidden[5:])
    torch.testing.assert_close(found.double(), torch.cdist(x[:5], x[5:]), rtol=1e-5, atol=0)


def test_aitchison_features_are_those_of_centred_logits(
    head: torch.Tensor, hidden: torch.Tensor
) -> None:
    x = logits_of(hidden, head)
    x = x - x.mean(-1, keepdim=True)
    features = LogitGeometry(head).features(hidden, space="clr").double()
    torch.testing.assert_close(features @ features.T, x @ x.T, rtol=1e-5, atol=1e-2)
    with pytest.raises(ValueError, match="logits, clr"):
        LogitGeometry(head).features(hidden, space="probabilities")


def test_principal_components_are_those_of_the_logits(
    head: torch.Tensor, hidden: torch.Tensor
) -> None:
    x = logits_of(hidden, head)
    left, values, right = torch.linalg.svd(x - x.mean(0), full_matrices=False)
    found = LogitGeometry(head).pca(hidden, n_components=5)
    torch.testing.assert_close(found.singular_values.double(), values[:5], rtol=1e-5, atol=0)
    torch.testing.assert_close(
        found.scores.double().abs(), (left * values)[:, :5].abs(), rtol=1e-4, atol=1e-3
    )
    axes = found.axes.double() @ head.double().T
    torch.testing.assert_close((axes @ right[:5].T).abs(), torch.eye(5).double(), rtol=0, atol=1e-5)


def test_components_without_variance_are_not_invented(head: torch.Tensor) -> None:
    line = torch.arange(10.0)[:, None] * torch.ones(1, D)
    assert len(LogitGeometry(head).pca(line).singular_values) == 1


def test_mean_logits_and_moments(head: torch.Tensor, hidden: torch.Tensor) -> None:
    x, geometry = logits_of(hidden, head), LogitGeometry(head)
    torch.testing.assert_close(
        geometry.mean_logits(hidden).double(), x.mean(0), rtol=1e-6, atol=1e-6
    )
    mean, second = geometry.moments(hidden)
    torch.testing.assert_close(mean, x.mean(-1), rtol=1e-9, atol=1e-9)
    torch.testing.assert_close(second, x.square().mean(-1), rtol=1e-9, atol=1e-9)
    torch.testing.assert_close(
        geometry.spread(hidden).double(), x.std(-1, correction=0), rtol=1e-5, atol=0
    )


def test_cka_far_from_the_origin_needs_the_centring(head: torch.Tensor) -> None:
    generator = torch.Generator().manual_seed(4)
    steps = torch.randn(3, 16, D, generator=generator)
    close, far = (
        LogitGeometry(head).centred_grams(steps),
        LogitGeometry(head).centred_grams(steps + 1000.0),
    )
    torch.testing.assert_close(cka_matrix(far), cka_matrix(close), atol=2e-3, rtol=0)
    naive = (steps + 1000.0) @ LogitGeometry(head).gram @ (steps + 1000.0).transpose(1, 2)
    assert not torch.allclose(cka_matrix(naive), cka_matrix(close), atol=0.01)


@pytest.fixture
def tf32() -> Iterator[None]:
    before = torch.backends.cuda.matmul.allow_tf32
    torch.backends.cuda.matmul.allow_tf32 = True
    yield
    torch.backends.cuda.matmul.allow_tf32 = before


@pytest.mark.usefixtures("tf32")
def test_tf32_is_off_inside_and_as_it_was_outside(head: torch.Tensor, hidden: torch.Tensor) -> None:
    seen: list[bool] = []

    class Watch(torch.overrides.TorchFunctionMode):
        def __torch_function__(self, func, types, args=(), kwargs=None):  # type: ignore[no-untyped-def]
            if "matmul" in getattr(func, "__name__", ""):
                seen.append(torch.backends.cuda.matmul.allow_tf32)
            return func(*args, **(kwargs or {}))

    geometry = LogitGeometry(head)
    with Watch():
        geometry.centred_grams(hidden)
        geometry.features(hidden)
    assert seen and not any(seen)
    assert torch.backends.cuda.matmul.allow_tf32


@pytest.mark.gpu
@pytest.mark.usefixtures("tf32")
def test_tf32_would_show() -> None:
    generator = torch.Generator().manual_seed(0)
    head, hidden = (torch.randn(n, 256, generator=generator).cuda() for n in (8192, 64))
    found = LogitGeometry(head).centred_grams(hidden).double()
    exact = hidden.double() - hidden.double().mean(0)
    exact = (exact @ head.double().T) @ (exact @ head.double().T).T
    assert ((found - exact).norm() / exact.norm()) < 1e-5
