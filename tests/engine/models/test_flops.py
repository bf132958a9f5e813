"""The arithmetic that an MFU counts, against torch's own counter."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import FlopCounterMode

from diffengine.engine.config import RunConfig
from diffengine.engine.decoding.phases import Phases
from diffengine.engine.decoding.setup import Setup
from diffengine.engine.models import flops
from diffengine.engine.models.flops import gemm_rate
from diffengine.engine.models.loading import MaskedDiffusionModel, load_model
from diffengine.kernels.matrix_product import safe_rows

CONFIG = RunConfig.of(model="test", steps=16, gen_length=16, block_length=16)


def counted(
    model: MaskedDiffusionModel, config: RunConfig, prompts: Any, *, ring: bool = True
) -> tuple[int, int]:
    """FLOPs of the second step by our count and by torch's, less the angles of the rotary
    embedding."""
    ours = Phases(model.device)
    decoder = Setup(model, config).decoder(prompts, budget=4096, phases=ours)
    if not ring:
        decoder.head.ring = None
    assert decoder.canvas.fill(iter(prompts))
    decoder.step()
    first = (ours.flops, ours.tokens)
    # Torch's counter has no formula for the CPU's fused attention; as plain products it counts it.
    with sdpa_kernel(SDPBackend.MATH), FlopCounterMode(display=False) as theirs:
        decoder.step()
    angles = angle_flops(theirs)
    size = model.network.config.hidden_size // model.network.config.num_attention_heads
    assert angles in (0, (ours.tokens - first[1]) * size)
    return ours.flops - first[0], theirs.get_total_flops() - angles


def angle_flops(counter: FlopCounterMode) -> int:
    """What torch counts for the angles, position times frequency.

    transformers 5.17 writes that outer product as a matrix product over an inner dimension of 1, 2
    FLOPs for each of head_dim / 2 frequencies and position; 5.23 as the elementwise product that it
    is, which nobody counts.
    """
    return sum(
        sum(by_kind.values())
        for module, by_kind in counter.get_flop_counts().items()
        if "rotary" in module
    )


@pytest.mark.parametrize("read_offset", [0, -1])
@pytest.mark.parametrize("ring", [True, False])
@pytest.mark.parametrize("changes", [{}, {"cfg_scale": 1.0}, {"record": "masked"}], ids=str)
def test_the_count_is_torchs(
    bundled_model: MaskedDiffusionModel,
    prompts_of: Callable[..., Any],
    changes: dict[str, Any],
    ring: bool,
    read_offset: int,
) -> None:
    config = CONFIG.changed(**changes)
    family = dataclasses.replace(bundled_model.family, read_offset=read_offset)
    model = dataclasses.replace(bundled_model, family=family)
    prompts = prompts_of(model, config.gen_length)
    assert 16 * (len(prompts) - 1) > safe_rows()  # or padding would be counted by torch
    ours, theirs = counted(model, config, prompts, ring=ring)
    assert ours == theirs


def test_fewer_key_heads_are_fewer_flops(
    random_checkpoint: Callable[..., Path], prompts_of: Callable[..., Any]
) -> None:
    for heads in (4, 2):
        model = load_model(random_checkpoint(f"kv{heads}", n_kv_heads=heads), device="cpu")
        ours, theirs = counted(model, CONFIG, prompts_of(model, CONFIG.gen_length))
        assert ours == theirs


def test_the_ceiling_is_measured_once_and_is_a_rate() -> None:
    rate = gemm_rate(torch.device("cpu"), torch.float32)
    assert rate is gemm_rate(torch.device("cpu"), torch.float32)
    assert 1e8 < rate < 1e15


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=str)
def test_the_ceiling_is_measured_on_random_numbers(
    dtype: torch.dtype, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Ones cost a GPU less power than weights do. The operands of the product are looked at, not
    what made them."""
    seen: list[torch.Tensor] = []

    class Watching(TorchDispatchMode):
        def __torch_dispatch__(
            self, func: Any, types: Any, args: Any = (), kwargs: Any = None
        ) -> Any:
            if func is torch.ops.aten.mm.default:
                seen.extend(args)
            return func(*args, **(kwargs or {}))

    monkeypatch.setitem(flops.GEMM_SIZE, "cpu", 128)
    state = torch.random.get_rng_state()
    with Watching():
        gemm_rate.__wrapped__(torch.device("cpu"), dtype)
    assert torch.equal(
        torch.random.get_rng_state(), state
    )  # nothing draws from the global generator
    assert len(seen) == 2 * (1 + flops.REPEATS)
    for operand in seen:
        assert operand.dtype == dtype
        assert abs(float(operand.float().mean())) < 0.05
        assert abs(float(operand.float().std()) - 1) < 0.05
    assert not torch.equal(seen[0], seen[1])
