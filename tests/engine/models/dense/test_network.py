"""The dense families' networks as published, against the stock class run densely and against the
decoder written out by hand."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
import transformers
from torch import Tensor
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from diffengine.engine.models.attention import packing_of
from diffengine.engine.models.compiled import compiled
from diffengine.engine.models.family import CheckpointError
from diffengine.engine.models.flops import network_flops
from diffengine.engine.models.fused import fused
from diffengine.engine.models.loading import MaskedDiffusionModel, load_model
from diffengine.engine.models.reads import reads_of

sys.path.append(str(Path(__file__).parent))
from by_hand import Decoder, weights_of
from dense_configs import FULL

FAMILIES = list(FULL)
LENGTHS = [21, 40, 40, 67]
GENERATED = 12


def stock_network(directory: Path) -> Any:
    """The stock class as transformers makes it of the published config and tensors, bidirectional
    and with attention written out."""
    content = json.loads((directory / "config.json").read_text())
    kind = {"Dream": "Qwen2", "a2d-qwen2": "Qwen2", "a2d-qwen3": "Qwen3"}
    name = kind.get(content.pop("model_type"), "Llama")
    for key in ("architectures", "auto_map", "dtype", "torch_dtype", "layer_norm_eps"):
        content.pop(key, None)
    config = getattr(transformers, f"{name}Config").from_dict(
        content | {"is_causal": False, "use_cache": False}, attn_implementation="eager"
    )
    network = getattr(transformers, f"{name}ForCausalLM")(config).eval().requires_grad_(False)
    missing, unexpected = network.load_state_dict(weights_of(directory), strict=False)
    assert set(missing) <= {"lm_head.weight"} and not unexpected
    return network


def tokens(count: int, seed: int = 0) -> Tensor:
    return torch.randint(6, 290, (count,), generator=torch.Generator().manual_seed(seed))


def logits(model: MaskedDiffusionModel, states: Tensor) -> Tensor:
    return states @ model.head_weight.T


@pytest.mark.parametrize("family", FAMILIES)
@torch.inference_mode()
def test_a_packed_batch_is_the_published_network_row_by_row(
    dense: Callable[..., Path], family: str
) -> None:
    path = dense(family)
    model = load_model(path, device="cpu")
    stock = stock_network(path)
    by_hand = Decoder(path)
    rows = tokens(sum(LENGTHS)).split(LENGTHS)
    positions = [torch.arange(length) for length in LENGTHS]
    packing = packing_of(LENGTHS, model.device)
    together = model.hidden(torch.cat(rows), torch.cat(positions), packing)
    for row, place, packed in zip(rows, positions, together.split(LENGTHS), strict=True):
        expected = stock(row[None]).logits[0]
        alone = model.hidden(row, place, packing_of([len(row)], model.device))
        torch.testing.assert_close(logits(model, packed), expected, atol=3e-5, rtol=3e-5)
        torch.testing.assert_close(logits(model, alone), expected, atol=3e-5, rtol=3e-5)
    exact = by_hand.logits(rows[0]).float()
    torch.testing.assert_close(logits(model, together[: LENGTHS[0]]), exact, atol=3e-5, rtol=3e-5)


@pytest.mark.parametrize("family", FAMILIES)
@torch.inference_mode()
def test_what_decoding_reads_is_the_published_network(
    dense: Callable[..., Path], family: str
) -> None:
    """Twice, with other generated tokens the second time, as two steps of a decoding are."""
    path = dense(family)
    model = load_model(path, device="cpu")
    stock = stock_network(path)
    positions = torch.cat([torch.arange(length) for length in LENGTHS])
    packing = packing_of(LENGTHS, model.device)
    rows = len(LENGTHS)
    reads = reads_of(LENGTHS, packing, rows=rows, each=GENERATED, offset=model.read_offset)
    ids = tokens(sum(LENGTHS))
    for step in range(2):
        ids = ids.clone()
        ids[reads.written] = tokens(rows * GENERATED, seed=step)
        read = model.hidden_read(ids, positions, packing, reads).split(GENERATED)
        for row, states in zip(ids.split(LENGTHS), read, strict=True):
            expected = stock(row[None]).logits[0]
            if model.read_offset:
                expected = torch.cat([expected[:1], expected[:-1]])
            torch.testing.assert_close(
                logits(model, states), expected[-GENERATED:], atol=3e-5, rtol=3e-5
            )


@pytest.mark.parametrize("family", FAMILIES)
def test_bfloat16_keeps_the_frequencies_of_the_rotations(
    dense: Callable[..., Path], family: str
) -> None:
    model = load_model(dense(family), device="cpu", dtype="bfloat16")
    assert {weights.dtype for weights in model.network.parameters()} == {torch.bfloat16}
    assert model.network.model.rotary_emb.inv_freq.dtype == torch.float32


@pytest.mark.parametrize("family", FAMILIES)
@torch.inference_mode()
def test_bfloat16_is_the_stock_class_bit_by_bit(dense: Callable[..., Path], family: str) -> None:
    """Unlike LLaDA's, the published networks rotate in their own dtype, as the stock class does."""
    path = dense(family)
    model = load_model(path, device="cpu", dtype="bfloat16")
    stock = stock_network(path)
    stock.config._attn_implementation = "sdpa"
    inverse = stock.model.rotary_emb.inv_freq
    stock = stock.to(torch.bfloat16)
    stock.model.rotary_emb.inv_freq = inverse
    row = tokens(70)
    states = model.hidden(row, torch.arange(70), packing_of([70], model.device))
    assert torch.equal(logits(model, states), stock(row[None]).logits[0])


@pytest.mark.parametrize("family", FAMILIES)
def test_the_arithmetic_is_what_torch_counts(dense: Callable[..., Path], family: str) -> None:
    """Of heads that are wider than the network divided by their number, too."""
    model = load_model(dense(family), device="cpu")
    layers = model.network.model.layers
    states = torch.randn(1, 40, model.network.config.hidden_size)
    positions = torch.arange(40)
    rope = model.network.model.rotary_emb(states, position_ids=positions[None])
    packing = packing_of([40], model.device)
    with torch.inference_mode(), sdpa_kernel(SDPBackend.MATH):
        with FlopCounterMode(display=False) as counter:
            for layer in layers:
                states = layer(
                    states, attention_mask=None, position_embeddings=rope, packing=packing
                )
    assert counter.get_total_flops() == network_flops(model.network.config, [40])


def read_states(model: MaskedDiffusionModel) -> Tensor:
    packing = packing_of(LENGTHS, model.device)
    reads = reads_of(LENGTHS, packing, rows=len(LENGTHS), each=GENERATED, offset=model.read_offset)
    positions = torch.cat([torch.arange(length) for length in LENGTHS])
    return model.hidden_read(tokens(sum(LENGTHS)), positions, packing, reads)


@pytest.mark.parametrize("family", FAMILIES)
def test_compiled_it_reads_the_same(dense: Callable[..., Path], family: str) -> None:
    model = load_model(dense(family), device="cpu")
    faster = compiled(model, most_tokens=256, backend="eager")
    torch.testing.assert_close(read_states(faster), read_states(model), atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("family", FAMILIES)
def test_fused_it_reads_the_same_or_says_why_not(dense: Callable[..., Path], family: str) -> None:
    model = load_model(dense(family), device="cpu")
    if family not in ("A2D-Llama", "iLLaDA"):
        with pytest.raises(CheckpointError, match="--fused: the network is a Qwen"):
            fused(model)
        return
    torch.testing.assert_close(read_states(fused(model)), read_states(model), atol=1e-5, rtol=1e-5)
