"""The published networks of dense families, by hand."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file
from torch import Tensor


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
    grouped attention with rotations by halves, a gated MLP."""

    def __init__(self, directory: Path) -> None:
        self.config = json.loads((directory / "config.json").read_text())
        tensors = weights_of(directory)
        self.weights = {name: tensor.double() for name, tensor in tensors.items()}
        self.heads = self.config["num_attention_heads"]
        self.size = self.config.get("head_dim", self.config["hidden_size"] // self.heads)

    def logits(self, ids: Tensor, allowed: Tensor | None = None) -> Tensor:
        """Logits [L, V] of one sequence [L] whose tokens see those `allowed` [L, L], or all."""
        self.allowed = torch.ones(len(ids), len(ids)).bool() if allowed is None else allowed
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
            score = score.masked_fill(~self.allowed, -math.inf)
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
