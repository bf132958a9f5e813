"""Checkpoints of Nemotron-Labs-Diffusion, random and tiny, in the format that is published; and
their network written out head by head from the tensors of the file."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from diffengine.engine.runs.run import BUNDLED

CONFIG: dict[str, Any] = {
    "ar_loss_weight": 1.0,
    "architectures": ["NemotronLabsDiffusionModel"],
    "attention_bias": False,
    "attention_dropout": 0.0,
    "attn_implementation": "sdpa",
    "auto_map": {
        "AutoConfig": "configuration_nemotron_labs_diffusion.NemotronLabsDiffusionConfig",
        "AutoModel": "modeling_nemotron_labs_diffusion.NemotronLabsDiffusionModel",
    },
    "block_size": 8,
    "bos_token_id": 0,
    "dlm_loss_weight": None,
    "dlm_paradigm": "bidirectional",
    "dp_varying_mask_ratio": False,
    "eos_token_id": 1,
    "head_dim": 24,
    "hidden_act": "silu",
    "hidden_size": 64,
    "initializer_range": 0.02,
    "intermediate_size": 96,
    "mask_token_id": 5,
    "max_position_embeddings": 1024,
    "mlp_bias": False,
    "model_type": "nemotron_labs_diffusion",
    "num_attention_heads": 4,
    "num_hidden_layers": 2,
    "num_key_value_heads": 2,
    "rms_norm_eps": 1e-05,
    "rope_parameters": {
        "beta_fast": 32.0,
        "beta_slow": 1.0,
        "factor": 16.0,
        "llama_4_scaling_beta": 0.1,
        "mscale": 1.0,
        "mscale_all_dim": 1.0,
        "original_max_position_embeddings": 16,
        "rope_theta": 1000000.0,
        "rope_type": "yarn",
    },
    "sliding_window": None,
    "tie_word_embeddings": False,
    "torch_dtype": "bfloat16",
    "transformers_version": "5.0.0",
    "use_cache": False,
    "vocab_size": 560,
}
"""As of Nemotron-Labs-Diffusion-8B, but for sizes and tokens; and queries are scaled from position
16 on, so that short rows show it."""


def shapes_of(config: dict[str, Any]) -> dict[str, tuple[int, ...]]:
    """Every tensor of the published files."""
    width, rows, size = config["hidden_size"], config["vocab_size"], config["head_dim"]
    heads, key_heads = config["num_attention_heads"], config["num_key_value_heads"]
    inner = config["intermediate_size"]
    shapes = {
        "encoder.embed_tokens": (rows, width),
        "encoder.norm": (width,),
        "diffusion_head": (rows, width),
    }
    for layer in range(config["num_hidden_layers"]):
        block = {
            "input_layernorm": (width,),
            "post_attention_layernorm": (width,),
            "self_attn.q_proj": (heads * size, width),
            "self_attn.k_proj": (key_heads * size, width),
            "self_attn.v_proj": (key_heads * size, width),
            "self_attn.o_proj": (width, heads * size),
            "mlp.gate_proj": (inner, width),
            "mlp.up_proj": (inner, width),
            "mlp.down_proj": (width, inner),
        }
        shapes |= {f"encoder.layers.{layer}.{name}": shape for name, shape in block.items()}
    return {f"{name}.weight": shape for name, shape in shapes.items()}


def draw(name: str, shape: tuple[int, ...], generator: torch.Generator) -> Tensor:
    noise = torch.randn(shape, generator=generator)
    if len(shape) == 1:
        return 1 + 0.3 * noise
    return noise * (3.0 if name.startswith("diffusion_head") else 1.0) / shape[1] ** 0.5


def write_checkpoint(directory: Path, **changes: Any) -> Path:
    """A checkpoint of one file; `changes` go into config.json."""
    directory.mkdir(parents=True)
    for name in ("tokenizer.json", "tokenizer_config.json"):
        text = (BUNDLED / name).read_text()
        text = text.replace("<|eot_id|>", "<|im_end|>")
        text = text.replace("<|start_header_id|>", "<|im_start|>")
        (directory / name).write_text(text)
    config = CONFIG | changes
    (directory / "config.json").write_text(json.dumps(config))
    generator = torch.Generator().manual_seed(5)
    tensors = {name: draw(name, shape, generator) for name, shape in shapes_of(config).items()}
    save_file(tensors, directory / "model.safetensors", metadata={"format": "pt"})
    return directory


@pytest.fixture
def nemotron(tmp_path: Path) -> Callable[..., Path]:
    """`nemotron(name, **changes)` writes a checkpoint."""
    return lambda name="checkpoint", **changes: write_checkpoint(tmp_path / name, **changes)


@pytest.fixture
def nemotron_config() -> dict[str, Any]:
    """config.json as the checkpoints have it."""
    return dict(CONFIG)


@pytest.fixture
def file_tensors() -> Callable[[Path], dict[str, Tensor]]:
    """Reads all tensors of a checkpoint's file."""
    return lambda directory: load_file(directory / "model.safetensors")


def yarn(config: dict[str, Any]) -> tuple[list[float], float]:
    """The frequencies of the rotations and what cosine and sine are multiplied by, one by one (Peng
    et al. 2023, arXiv 2309.00071): waves that turn often within the original context stay, those
    that hardly turn are stretched by the factor, and between them both are mixed."""
    rope = config["rope_parameters"]
    size, theta, factor = config["head_dim"], rope["rope_theta"], rope["factor"]
    context = rope["original_max_position_embeddings"]

    def place_of(turns: float) -> float:
        """The place of the wave that turns so often within the context."""
        length = context / (turns * 2 * math.pi)
        return size * math.log(length) / (2 * math.log(theta))

    low = max(math.floor(place_of(rope["beta_fast"])), 0)
    high = min(math.ceil(place_of(rope["beta_slow"])), size - 1)
    span = high - low if high != low else 0.001
    frequencies = []
    for place in range(size // 2):
        frequency = theta ** (-2 * place / size)
        stretched = min(max((place - low) / span, 0.0), 1.0)
        frequencies.append((1 - stretched) * frequency + stretched * frequency / factor)

    def scale(weight: float) -> float:
        return 1.0 if factor <= 1 else 0.1 * weight * math.log(factor) + 1.0

    return frequencies, scale(rope["mscale"]) / scale(rope["mscale_all_dim"])


class Published:
    """The published network by hand (modeling_ministral.py), one sequence at a time in float64."""

    def __init__(self, directory: Path) -> None:
        self.config = json.loads((directory / "config.json").read_text())
        tensors = load_file(directory / "model.safetensors")
        self.weights = {name: tensor.double() for name, tensor in tensors.items()}

    def logits(self, ids: Tensor, *, open_from: int) -> Tensor:
        """Logits [L, V] of one sequence [L]: those from `open_from` on are the open block."""
        states = self.weights["encoder.embed_tokens.weight"][ids]
        for layer in range(self.config["num_hidden_layers"]):
            name = f"encoder.layers.{layer}"
            normed = self._norm(states, f"{name}.input_layernorm")
            states = states + self._attended(f"{name}.self_attn", normed, open_from)
            normed = self._norm(states, f"{name}.post_attention_layernorm")
            gate = torch.nn.functional.silu(self._linear(normed, f"{name}.mlp.gate_proj"))
            up = self._linear(normed, f"{name}.mlp.up_proj")
            states = states + self._linear(gate * up, f"{name}.mlp.down_proj")
        return self._linear(self._norm(states, "encoder.norm"), "diffusion_head")

    def _attended(self, name: str, states: Tensor, open_from: int) -> Tensor:
        heads, size = self.config["num_attention_heads"], self.config["head_dim"]
        groups = heads // self.config["num_key_value_heads"]
        query = self._linear(states, f"{name}.q_proj").unflatten(-1, (-1, size))
        key = self._linear(states, f"{name}.k_proj").unflatten(-1, (-1, size))
        value = self._linear(states, f"{name}.v_proj").unflatten(-1, (-1, size))
        mixed = []
        for head in range(heads):
            turned = self._rotated(query[:, head]) * self._scaling(len(states))
            score = turned @ self._rotated(key[:, head // groups]).T / math.sqrt(size)
            for i in range(len(states)):
                for j in range(len(states)):
                    if j > i and i < open_from:
                        score[i, j] = -torch.inf
            mixed.append(score.softmax(-1) @ value[:, head // groups])
        return self._linear(torch.cat(mixed, -1), f"{name}.o_proj")

    def _scaling(self, length: int) -> Tensor:
        """By what the query at each position is multiplied [L, 1]."""
        rope = self.config["rope_parameters"]
        beta, context = rope["llama_4_scaling_beta"], rope["original_max_position_embeddings"]
        scaling = [1 + beta * math.log(1 + position // context) for position in range(length)]
        return torch.tensor(scaling, dtype=torch.float64)[:, None]

    def _rotated(self, x: Tensor) -> Tensor:
        frequencies, factor = yarn(self.config)
        positions = torch.arange(len(x)).double()
        angles = torch.outer(positions, torch.tensor(frequencies, dtype=torch.float64))
        cos, sin = factor * angles.cos(), factor * angles.sin()
        first, second = x.chunk(2, -1)
        return torch.cat([first * cos - second * sin, second * cos + first * sin], -1)

    def _linear(self, states: Tensor, name: str) -> Tensor:
        return states @ self.weights[f"{name}.weight"].T

    def _norm(self, states: Tensor, name: str) -> Tensor:
        mean = states.square().mean(-1, keepdim=True)
        return self.weights[f"{name}.weight"] * states / (mean + self.config["rms_norm_eps"]).sqrt()


@pytest.fixture
def published() -> type[Published]:
    """The published network by hand, of a checkpoint's directory."""
    return Published


@pytest.fixture
def yarn_of() -> Callable[[dict[str, Any]], tuple[list[float], float]]:
    """Frequencies and factor of the rotations, by hand."""
    return yarn
