"""The traps of Gram matrices from hidden states: an origin far away, and TF32."""

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
