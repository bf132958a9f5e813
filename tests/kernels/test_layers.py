"""Norm, rotation and gated activation: the twins are transformers' Llama to the bit, the kernels
are the twins."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import torch

from diffengine.kernels import layers
from diffengine.kernels.triton_rows import layers as layer_kernels

pytestmark = pytest.mark.usefixtures("poisoned")
EPS = 1e-5


def draw(*shape: int, dtype: torch.dtype = torch.float32, scale: float = 1.0) -> torch.Tensor:
    generator = torch.Generator().manual_seed(sum(shape))
    return (scale * torch.randn(*shape, generator=generator)).to(dtype)


@pytest.fixture(params=[torch.float32, torch.bfloat16], ids=str)
def dtype(request: pytest.FixtureRequest) -> torch.dtype:
    return request.param


def test_the_twins_are_the_stock_layers_to_the_bit(dtype: torch.dtype) -> None:
    from transformers.models.llama import modeling_llama as stock

    states, update = draw(7, 96, dtype=dtype, scale=3), draw(7, 96, dtype=dtype)
    norm = stock.LlamaRMSNorm(96, eps=EPS)
    norm.weight.data = draw(96, dtype=dtype)
    total, normed = layers.add_rms_norm(states, update, norm.weight, eps=EPS)
    assert torch.equal(total, states + update)
    assert torch.equal(normed, norm(states + update))
    assert torch.equal(layers.add_rms_norm(states, None, norm.weight, eps=EPS)[1], norm(states))

    for wide in (dtype, torch.float32):  # LLaDA's rotation is float32 in a bfloat16 model
        query, key = draw(7, 4, 16, dtype=dtype), draw(7, 2, 16, dtype=dtype)
        cos, sin = draw(7, 16, dtype=wide), draw(7, 16, dtype=wide)
        heads_first = (part.transpose(0, 1)[None] for part in (query, key))
        expected = stock.apply_rotary_pos_emb(*heads_first, cos[None], sin[None])
        for ours, theirs in zip((query, key), expected, strict=True):
            assert torch.equal(layers.rotated(ours, cos, sin), theirs[0].transpose(0, 1).to(dtype))

    gate, up = draw(7, 40, dtype=dtype, scale=4), draw(7, 40, dtype=dtype)
    assert torch.equal(layers.gated(gate, up), torch.nn.functional.silu(gate) * up)


def close(ours: torch.Tensor, expected: torch.Tensor) -> None:
    """Equal up to the order of a sum; in bfloat16 that may turn a rounding, of one unit in the last
    place of few."""
    assert ours.dtype == expected.dtype
    assert ours.shape == expected.shape
    ours, expected = ours.cpu(), expected.cpu()
    if ours.dtype == torch.float32:
        torch.testing.assert_close(ours, expected, rtol=2e-6, atol=1e-6)
    else:
        torch.testing.assert_close(ours, expected, rtol=2**-7, atol=1e-6)
        assert int((ours != expected).sum()) <= max(1, ours.numel() // 100)


def compare_norm(
    kernels: Any, device: torch.device, tokens: int, width: int, dtype: torch.dtype
) -> None:
    states, update = (
        draw(tokens, width, dtype=dtype, scale=3).to(device),
        draw(tokens, width + 1)[:, 1:].to(dtype),
    )
    weight = draw(width, dtype=dtype).to(device)
    for added in (None, update.to(device)):  # the update's rows do not lie end to end
        ours = kernels.add_rms_norm(states, added, weight, eps=EPS)
        expected = layers.add_rms_norm(states, added, weight, eps=EPS)
        assert torch.equal(ours[0], expected[0])
        close(ours[1], expected[1])


def compare_rotation(
    kernels: Any, device: torch.device, shape: tuple[int, int, int], dtype: torch.dtype
) -> None:
    for wide in {dtype, torch.float32}:
        heads = draw(*shape, dtype=dtype).to(device)
        cos, sin = (draw(shape[0], shape[2], dtype=wide, scale=s).to(device) for s in (1.0, 0.7))
        close(kernels.rotated(heads, cos, sin), layers.rotated(heads, cos, sin))


def compare_gate(
    kernels: Any, device: torch.device, tokens: int, width: int, dtype: torch.dtype
) -> None:
    gate, up = (
        draw(tokens, width, dtype=dtype, scale=8).to(device),
        draw(tokens, width, dtype=dtype).to(device),
    )
    close(kernels.gated(gate, up), layers.gated(gate, up))


@pytest.mark.parametrize("tokens, width", [(1, 1), (3, 128), (5, 100), (2, 4096), (0, 64)])
def test_norm(device: torch.device, tokens: int, width: int, dtype: torch.dtype) -> None:
    compare_norm(layer_kernels, device, tokens, width, dtype)


@pytest.mark.parametrize(
    "shape", [(1, 1, 2), (3, 32, 128), (5, 9, 48), (2, 8, 64), (0, 4, 16)], ids=str
)
def test_rotation(device: torch.device, shape: tuple[int, int, int], dtype: torch.dtype) -> None:
    compare_rotation(layer_kernels, device, shape, dtype)


@pytest.mark.parametrize("tokens, width", [(1, 1), (3, 384), (2, 12288), (0, 8)])
def test_gated_activation(
    device: torch.device, tokens: int, width: int, dtype: torch.dtype
) -> None:
    compare_gate(layer_kernels, device, tokens, width, dtype)


def test_extremes_are_those_of_torch(device: torch.device, dtype: torch.dtype) -> None:
    gate = torch.tensor(
        [[-200.0, -90.0, -0.0, 0.0, 90.0, 200.0, float("nan"), 1e30]], dtype=dtype, device=device
    )
    up = torch.ones_like(gate)
    ours, expected = layer_kernels.gated(gate, up), layers.gated(gate, up)
    torch.testing.assert_close(ours, expected, equal_nan=True, atol=1e-30, rtol=1e-2)
    zeros = torch.zeros(1, 64, dtype=dtype, device=device)
    weight = torch.ones(64, dtype=dtype, device=device)
    assert torch.equal(layer_kernels.add_rms_norm(zeros, None, weight, eps=EPS)[1], zeros)


MUTATIONS: dict[str, tuple[str, str, Callable[..., None], tuple[Any, ...]]] = {
    "the sum is not rounded": (
        "update.to(tl.float32)).to(total.dtype)", "update.to(tl.float32))", compare_norm, (5, 96, torch.bfloat16)),
    "the mean is over the padding": ("axis=0) / D", "axis=0) / WIDTH", compare_norm, (5, 100, torch.float32)),
    "eps is left out": ("tl.rsqrt(mean + EPS)", "tl.rsqrt(mean)", compare_norm, (1, 1, torch.float32)),
    "the turn goes the other way": ("_turn(first, -second", "_turn(first, second", compare_rotation,
                                    ((3, 8, 64), torch.float32)),
    "the lower half has the upper's phase": ("_turn(second, first, other_cos, other_sin)",
                                             "_turn(second, first, cos, sin)", compare_rotation,
                                             ((3, 8, 64), torch.float32)),
    "heads beyond the first group are lost": ("tl.program_id(1) * GROUP", "0 * GROUP", compare_rotation,
                                              ((5, 9, 48), torch.float32)),
    "the activation is the logistic alone": ("(wide / (1.0", "(1.0 / (1.0", compare_gate, (3, 384, torch.float32)),
}  # fmt: skip


def mutant(old: str, new: str, folder: Path) -> ModuleType:
    source = Path(layer_kernels.__file__).read_text()
    assert source.count(old) == 1, (
        f"{old!r} is found {source.count(old)} times; the mutation must name one place"
    )
    path = folder / "mutant.py"
    path.write_text(source.replace(old, new))
    spec = importlib.util.spec_from_file_location(
        "diffengine.kernels.triton_rows.mutant_layers", path
    )
    assert spec is not None and spec.loader is not None
    made = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(made)
    return made


@pytest.mark.parametrize("name", MUTATIONS)
def test_a_mutant_is_noticed(
    device: torch.device, name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    old, new, compare, arguments = MUTATIONS[name]
    compare(layer_kernels, device, *arguments)
    if device.type == "cpu":
        monkeypatch.setenv("TRITON_INTERPRET", "1")
    with pytest.raises(AssertionError):
        compare(mutant(old, new, tmp_path), device, *arguments)
