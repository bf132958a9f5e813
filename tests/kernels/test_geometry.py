"""Geometry in hidden space against the same quantity computed densely from logits, by the papers'
formulas."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from diffengine.kernels.geometry import LogitGeometry, cka_matrix, debiased_cka, debiased_hsic


def slow_hsic(k: np.ndarray, l: np.ndarray) -> float:
    """Song et al. 2012, eq. 5, term by term."""
    n = len(k)
    k, l = (m - np.diag(np.diag(m)) for m in (k, l))
    one = np.ones(n)
    trace = np.trace(k @ l)
    return (
        trace
        + (one @ k @ one) * (one @ l @ one) / ((n - 1) * (n - 2))
        - 2 / (n - 2) * (one @ k @ l @ one)
    ) / (n * (n - 3))


def slow_cka(x: np.ndarray, y: np.ndarray) -> float:
    k, l = x @ x.T, y @ y.T
    return slow_hsic(k, l) / math.sqrt(slow_hsic(k, k) * slow_hsic(l, l))


@pytest.fixture
def trajectory() -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    weight = torch.randn(900, 24, generator=generator) * torch.logspace(0, -2, 24)
    first = torch.randn(16, 24, generator=generator)
    steps = [first + 0.3 * i * torch.randn(16, 24, generator=generator) for i in range(5)]
    return torch.stack(steps) + 50, weight  # far from the origin: the centring matters


def test_cka_of_logits_comes_from_hidden_states(
    trajectory: tuple[torch.Tensor, torch.Tensor],
) -> None:
    hidden, weight = trajectory
    logits = (hidden.double() @ weight.double().T).numpy()
    grams = LogitGeometry(weight).centred_grams(hidden)
    matrix = cka_matrix(grams)
    for s in range(5):
        for t in range(5):
            expected = slow_cka(logits[s], logits[t])
            assert matrix[s, t].item() == pytest.approx(expected, abs=1e-4)
            assert debiased_cka(grams[s], grams[t]).item() == pytest.approx(expected, abs=1e-4)


def test_cka_over_some_rows_is_cka_of_those_rows(
    trajectory: tuple[torch.Tensor, torch.Tensor],
) -> None:
    hidden, weight = trajectory
    logits = (hidden.double() @ weight.double().T).numpy()
    grams = LogitGeometry(weight).centred_grams(hidden)
    rows = torch.tensor(
        [
            [True, False] * 8,
            [True] * 10 + [False] * 6,
            [True] * 3 + [False] * 13,
            [True] * 4 + [False] * 12,
        ]
    )
    found = debiased_cka(grams[1:], grams[:-1], rows)
    for i, keep in enumerate(rows.numpy()):
        if keep.sum() < 4:
            assert found[i].isnan()
        else:
            assert found[i].item() == pytest.approx(
                slow_cka(logits[i + 1][keep], logits[i][keep]), abs=2e-3
            )


def test_unrelated_matrices_have_no_debiased_cka() -> None:
    generator = torch.Generator().manual_seed(1)
    x, y = (torch.randn(64, 2000, generator=generator) for _ in range(2))
    k, l = (m @ m.T for m in (x, y))
    assert abs(debiased_cka(k, l).item()) < 0.05  # the biased one is .97 here
    assert debiased_cka(k, 3.0 * k).item() == pytest.approx(1.0, abs=1e-5)


@pytest.mark.parametrize("common", [0.0, 20.0, 200.0])
@pytest.mark.parametrize("change", [0.3, 0.01])
def test_float32_grams_give_cka_to_its_last_bits(common: float, change: float) -> None:
    """A few features are large in every hidden state, and steps differ little, as in a real model;
    the products are in float32, what is made of them in float64."""
    generator = torch.Generator().manual_seed(2)
    weight = torch.randn(2000, 256, generator=generator) * torch.logspace(0, -2, 256)
    moves = change * torch.randn(8, 32, 256, generator=generator)
    hidden = torch.randn(32, 256, generator=generator) + moves.cumsum(0)
    hidden[..., :4] += common
    hidden = hidden.bfloat16().float()

    wide = hidden.double() - hidden.double().mean(-2, keepdim=True)
    logits = wide @ weight.double().T
    exact = cka_matrix(logits @ logits.mT)

    geometry = LogitGeometry(weight)
    result = cka_matrix(geometry.centred_grams(hidden))
    assert (result - exact).abs().max() < 5e-7

    def less_exact(rows: torch.Tensor) -> torch.Tensor:
        """With ten bits of each factor, as TF32 has."""
        short = rows.view(torch.int32).bitwise_and(~0x1FFF).view(torch.float32)
        return short @ geometry.gram @ short.mT

    centred = (hidden - hidden.mean(-2, keepdim=True)).contiguous()
    assert (cka_matrix(less_exact(centred)) - exact).abs().max() > 5e-7


def test_too_few_rows_are_undefined() -> None:
    x = torch.randn(20, 3, 5, generator=torch.Generator().manual_seed(0))
    assert debiased_hsic(x @ x.mT, x @ x.mT).isnan().all()  # not x / 0
    gram = torch.eye(3)
    assert debiased_hsic(gram, gram).isnan()
    assert cka_matrix(gram[None]).isnan().all()


def test_the_matrix_over_some_rows_is_that_of_the_rows_alone() -> None:
    """Each step with rows of its own; pairs that have the same are compared."""
    generator = torch.Generator().manual_seed(4)
    geometry = LogitGeometry(torch.randn(50, 6, generator=generator))
    hidden = torch.randn(5, 9, 6, generator=generator)
    keep = torch.tensor([[0, 2, 3, 5, 8], [0, 2, 3, 5, 8], [1, 2, 3, 4, 6], [1, 2, 3, 4, 6]])
    rows = torch.zeros(5, 9, dtype=torch.bool)
    rows[:4].scatter_(1, keep, True)
    rows[4, :3] = True  # three rows are too few
    found = cka_matrix(geometry.centred_grams(hidden), rows)
    for first in (0, 2):
        pair = slice(first, first + 2)
        alone = hidden[pair][:, keep[first]]
        expected = cka_matrix(geometry.centred_grams(alone))
        torch.testing.assert_close(found[pair, pair], expected, atol=1e-4, rtol=1e-4)
    assert found[4].isnan().all() and found[:, 4].isnan().all()
