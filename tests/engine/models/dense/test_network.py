"""The dense families' networks as published, against the stock class run densely and against the
decoder written out by hand."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
import transformers
from safetensors.torch import load_file
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

FAMILIES = ["Dream", "A2D-Qwen3", "A2D-Qwen2", "A2D-Llama", "iLLaDA"]
LENGTHS = [21, 40, 40, 67]
GENERATED = 12


def weights_of(directory: Path) -> dict[str, Tensor]:
    tensors: dict[str, Tensor] = {}
    for file in directory.glob("*.safetensors"):
        tensors |= load_file(file)
    return tensors


def llama3_stretched(inverse: Tensor, rope: dict[str, Any]) -> Tensor:
    """The frequencies of Llama 3.1, one by one: long waves are stretched, short ones kept, and
    between them both are mixed."""
    stretched = []
    for frequency in inverse.tolist():
        turns = rope["original_max_position_embeddings"] * frequency / (2 * math.pi)
        low, high = rope["low_freq_factor"], rope["high_freq_factor"]
        kept = min(max((turns - low) / (high - low), 0.0), 1.0)
        stretched.append(kept * frequency + (1 - kept) * frequency / rope["factor"])
    return torch.tensor(stretched, dtype=inverse.dtype)


class Decoder:
    """The published network of every dense family, one sequence at a time, in float64: RMSNorm,
    grouped attention of all to all with rotations by halves, a gated MLP."""

    def __init__(self, directory: Path) -> None:
        self.config = json.loads((directory / "config.json").read_text())
        tensors = weights_of(directory)
        self.weights = {name: tensor.double() for name, tensor in tensors.items()}
        self.heads = self.config["num_attention_heads"]
        self.size = self.config.get("head_dim", self.config["hidden_size"] // self.heads)

    def logits(self, ids: Tensor) -> Tensor:
        """Logits [L, V] of one sequence [L]."""
        states = self.weights["model.embed_tokens.weight"][ids]
        for layer in range(self.config["num_hidden_layers"]):
            name = f"model.layers.{layer}"
            normed = self._norm(states, f"{name}.input_layernorm")
            states = states + self._attended(f"{name}.self_attn", normed)
            normed = self._norm(states, f"{name}.post_attention_layernorm")
            gate = torch.nn.functional.silu(self._linear(normed, f"{name}.mlp.gate_proj"))
            up = self._linear(normed, f"{name}.mlp.up_proj")
            states = states + self._linear(gate * up, f"{name}.mlp.down_proj")
        head = "model.embed_tokens" if self.config["tie_word_embeddings"] else "lm_head"
        return self._norm(states, "model.norm") @ self.weights[f"{head}.weight"].T

    def _attended(self, name: str, states: Tensor) -> Tensor:
        groups = self.heads // self.config["num_key_value_heads"]
        query = self._rotated(self._by_head(states, name, "q"))
        key = self._rotated(self._by_head(states, name, "k"))
        value = self._by_head(states, name, "v")
        mixed = []
        for head in range(self.heads):
            score = query[:, head] @ key[:, head // groups].T / math.sqrt(self.size)
            mixed.append(score.softmax(-1) @ value[:, head // groups])
        return self._linear(torch.cat(mixed, -1), f"{name}.o_proj")

    def _by_head(self, states: Tensor, name: str, part: str) -> Tensor:
        heads = self._linear(states, f"{name}.{part}_proj").unflatten(-1, (-1, self.size))
        norm = f"{name}.{part}_norm"
        return self._norm(heads, norm) if f"{norm}.weight" in self.weights else heads

    def _rotated(self, heads: Tensor) -> Tensor:
        places = torch.arange(0, self.size, 2).double() / self.size
        inverse = 1 / self.config["rope_theta"] ** places
        if self.config["rope_scaling"]:
            inverse = llama3_stretched(inverse, self.config["rope_scaling"])
        angles = torch.outer(torch.arange(len(heads)).double(), inverse)[:, None]
        first, second = heads.chunk(2, -1)
        turned = [
            first * angles.cos() - second * angles.sin(),
            second * angles.cos() + first * angles.sin(),
        ]
        return torch.cat(turned, -1)

    def _linear(self, states: Tensor, name: str) -> Tensor:
        out = states @ self.weights[f"{name}.weight"].T
        return out + self.weights.get(f"{name}.bias", 0)

    def _norm(self, states: Tensor, name: str) -> Tensor:
        mean = states.square().mean(-1, keepdim=True)
        return self.weights[f"{name}.weight"] * states / (mean + self.config["rms_norm_eps"]).sqrt()


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
