"""Checkpoints of LLaDA2, random and tiny, in the format that is published; and their network written
out token by token and expert by expert, from the tensors of the file."""

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

from diffengine.engine.models.block_attention import BlockPacking, Span, seen_by_blocks
from diffengine.engine.runs.run import BUNDLED

CONFIG: dict[str, Any] = {
    "architectures": ["LLaDA2MoeModelLM"],
    "attention_dropout": 0.0,
    "auto_map": {
        "AutoConfig": "configuration_llada2_moe.LLaDA2MoeConfig",
        "AutoModel": "modeling_llada2_moe.LLaDA2MoeModel",
        "AutoModelForCausalLM": "modeling_llada2_moe.LLaDA2MoeModelLM",
    },
    "dtype": "bfloat16",
    "embedding_dropout": 0.0,
    "eos_token_id": 1,
    "first_k_dense_replace": 1,
    "head_dim": 24,
    "hidden_act": "silu",
    "hidden_size": 64,
    "initializer_range": 0.02,
    "intermediate_size": 96,
    "max_position_embeddings": 1024,
    "max_window_layers": 20,
    "model_type": "llada2_moe",
    "moe_intermediate_size": 32,
    "moe_router_enable_expert_bias": True,
    "n_group": 4,
    "norm_head": False,
    "norm_softmax": False,
    "norm_topk_prob": True,
    "num_attention_heads": 4,
    "num_experts": 16,
    "num_experts_per_tok": 3,
    "num_hidden_layers": 3,
    "num_key_value_heads": 2,
    "num_shared_experts": 1,
    "output_dropout": 0.0,
    "output_router_logits": False,
    "pad_token_id": 1,
    "partial_rotary_factor": 0.5,
    "rms_norm_eps": 1e-06,
    "rope_scaling": None,
    "rope_theta": 600000,
    "rotary_dim": 12,
    "routed_scaling_factor": 2.5,
    "router_dtype": "fp32",
    "score_function": "sigmoid",
    "sliding_window": 4096,
    "tie_word_embeddings": False,
    "topk_group": 2,
    "transformers_version": "4.57.1",
    "use_bias": False,
    "use_cache": True,
    "use_qk_norm": True,
    "use_qkv_bias": False,
    "use_rmsnorm": True,
    "use_sliding_window": False,
    "vocab_size": 560,
}

TOKENS = {
    "<|mdm_mask|>": "<|mask|>",
    "<|eot_id|>": "<|role_end|>",
    "<|start_header_id|>": "<role>",
    "<|end_header_id|>": "</role>",
}
"""What the bundled tokenizer calls a token, and what the family's does."""


def mlp_shapes(name: str, inner: int, width: int) -> dict[str, tuple[int, ...]]:
    """The three matrices of a gated MLP."""
    return {
        f"{name}.gate_proj.weight": (inner, width),
        f"{name}.up_proj.weight": (inner, width),
        f"{name}.down_proj.weight": (width, inner),
    }


def shapes_of(config: dict[str, Any]) -> dict[str, tuple[int, ...]]:
    """Every tensor of the published files."""
    width, rows, size = config["hidden_size"], config["vocab_size"], config["head_dim"]
    heads, key_heads = config["num_attention_heads"], config["num_key_value_heads"]
    experts, inner = config["num_experts"], config["moe_intermediate_size"]
    shapes = {
        "model.word_embeddings.weight": (rows, width),
        "model.norm.weight": (width,),
        "lm_head.weight": (rows, width),
    }
    for layer in range(config["num_hidden_layers"]):
        block = {
            "input_layernorm.weight": (width,),
            "post_attention_layernorm.weight": (width,),
            "attention.query_key_value.weight": ((heads + 2 * key_heads) * size, width),
            "attention.query_layernorm.weight": (size,),
            "attention.key_layernorm.weight": (size,),
            "attention.dense.weight": (width, heads * size),
        }
        if layer < config["first_k_dense_replace"]:
            block |= mlp_shapes("mlp", config["intermediate_size"], width)
        else:
            block["mlp.gate.weight"] = (experts, width)
            block["mlp.gate.expert_bias"] = (experts,)
            for expert in range(experts):
                block |= mlp_shapes(f"mlp.experts.{expert}", inner, width)
            shared = inner * config["num_shared_experts"]
            block |= mlp_shapes("mlp.shared_experts", shared, width)
        shapes |= {f"model.layers.{layer}.{name}": shape for name, shape in block.items()}
    return shapes


def draw(name: str, shape: tuple[int, ...], generator: torch.Generator) -> Tensor:
    noise = torch.randn(shape, generator=generator)
    if name.endswith("expert_bias"):
        return 0.3 * noise
    if len(shape) == 1:
        return 1 + 0.3 * noise
    sharp = 3.0 if name.startswith("lm_head") or ".gate.weight" in name else 1.0
    return sharp * noise / shape[1] ** 0.5


TEMPLATE = (
    "{% for message in messages %}"
    "{{ '<role>HUMAN</role>' + message['content'] + '<|role_end|>' }}"
    "{% endfor %}"
    "{% if add_generation_prompt %}{{ '<role>ASSISTANT</role>' }}{% endif %}"
)


def write_tokenizer(directory: Path) -> None:
    """The bundled tokenizer with the family's names and a template of its roles."""
    for name in ("tokenizer.json", "tokenizer_config.json"):
        text = (BUNDLED / name).read_text()
        for ours, theirs in TOKENS.items():
            text = text.replace(ours, theirs)
        (directory / name).write_text(text)
    settings = json.loads((directory / "tokenizer_config.json").read_text())
    settings["chat_template"] = TEMPLATE
    (directory / "tokenizer_config.json").write_text(json.dumps(settings))


def write_checkpoint(directory: Path, **changes: Any) -> Path:
    """A checkpoint in two files; `changes` go into config.json."""
    directory.mkdir(parents=True)
    write_tokenizer(directory)
    config = CONFIG | changes
    (directory / "config.json").write_text(json.dumps(config))
    generator = torch.Generator().manual_seed(5)
    tensors = {name: draw(name, shape, generator) for name, shape in shapes_of(config).items()}
    names = sorted(tensors)
    weight_map = {}
    for number in range(2):
        file = f"model-{number + 1:05}-of-00002.safetensors"
        part = {name: tensors[name] for name in names[number::2]}
        save_file(part, directory / file, metadata={"format": "pt"})
        weight_map |= dict.fromkeys(part, file)
    index = {"metadata": {}, "weight_map": weight_map}
    (directory / "model.safetensors.index.json").write_text(json.dumps(index))
    return directory


@pytest.fixture
def llada2(tmp_path: Path) -> Callable[..., Path]:
    """`llada2(name, **changes)` writes a checkpoint."""
    return lambda name="checkpoint", **changes: write_checkpoint(tmp_path / name, **changes)


@pytest.fixture
def llada2_config() -> dict[str, Any]:
    """config.json as the checkpoints have it."""
    return dict(CONFIG)


@pytest.fixture
def llada2_shapes() -> dict[str, tuple[int, ...]]:
    """Every tensor of a checkpoint."""
    return shapes_of(CONFIG)


def tensors_of(directory: Path) -> dict[str, Tensor]:
    """All tensors of the files."""
    tensors: dict[str, Tensor] = {}
    for file in sorted(directory.glob("*.safetensors")):
        tensors |= load_file(file)
    return tensors


@pytest.fixture
def file_tensors() -> Callable[[Path], dict[str, Tensor]]:
    """Reads all tensors of a checkpoint's files."""
    return tensors_of


class Published:
    """The published network by hand (modeling_llada2_moe.py), one sequence at a time in float64: one
    head, one token and one expert after the other."""

    def __init__(self, directory: Path) -> None:
        self.config = json.loads((directory / "config.json").read_text())
        tensors = tensors_of(directory)
        self.weights = {name: tensor.double() for name, tensor in tensors.items()}

    def logits(self, ids: Tensor, *, block: int) -> Tensor:
        """Logits [L, V] of one sequence [L], whose tokens see their block of `block` tokens and
        those before."""
        states = self.weights["model.word_embeddings.weight"][ids]
        for layer in range(self.config["num_hidden_layers"]):
            name = f"model.layers.{layer}"
            normed = self._norm(states, f"{name}.input_layernorm")
            states = states + self._attended(f"{name}.attention", normed, block)
            normed = self._norm(states, f"{name}.post_attention_layernorm")
            if layer < self.config["first_k_dense_replace"]:
                states = states + self._mlp(f"{name}.mlp", normed)
            else:
                mixed = [self._mixed(f"{name}.mlp", token) for token in normed]
                states = states + torch.stack(mixed)
        return self._norm(states, "model.norm") @ self.weights["lm_head.weight"].T

    def _norm(self, x: Tensor, name: str) -> Tensor:
        mean = x.square().mean(-1, keepdim=True)
        return self.weights[f"{name}.weight"] * x / (mean + self.config["rms_norm_eps"]).sqrt()

    def _attended(self, name: str, x: Tensor, block: int) -> Tensor:
        heads, size = self.config["num_attention_heads"], self.config["head_dim"]
        key_heads = self.config["num_key_value_heads"]
        together = x @ self.weights[f"{name}.query_key_value.weight"].T
        by_head = together.view(len(x), heads + 2 * key_heads, size)
        mixed = []
        for head in range(heads):
            group = head // (heads // key_heads)
            query = self._rotated(self._norm(by_head[:, head], f"{name}.query_layernorm"))
            key = self._norm(by_head[:, heads + group], f"{name}.key_layernorm")
            value = by_head[:, heads + key_heads + group]
            score = query @ self._rotated(key).T / math.sqrt(size)
            for i in range(len(x)):
                for j in range(len(x)):
                    if j // block > i // block:
                        score[i, j] = -torch.inf
            mixed.append(score.softmax(-1) @ value)
        return torch.cat(mixed, -1) @ self.weights[f"{name}.dense.weight"].T

    def _rotated(self, x: Tensor) -> Tensor:
        turned = int(self.config["head_dim"] * self.config["partial_rotary_factor"])
        places = torch.arange(0, turned, 2).float() / turned
        inverse = (1.0 / self.config["rope_theta"] ** places).double()
        angles = torch.outer(torch.arange(len(x)).double(), inverse)
        cos, sin = angles.cos(), angles.sin()
        first, second, rest = x.split([turned // 2, turned // 2, x.shape[-1] - turned], -1)
        return torch.cat([first * cos - second * sin, second * cos + first * sin, rest], -1)

    def _mlp(self, name: str, x: Tensor) -> Tensor:
        gate = torch.nn.functional.silu(x @ self.weights[f"{name}.gate_proj.weight"].T)
        up = x @ self.weights[f"{name}.up_proj.weight"].T
        return (gate * up) @ self.weights[f"{name}.down_proj.weight"].T

    def routed(self, name: str, token: Tensor) -> dict[int, float]:
        """The experts of a token with their weights: the best groups by their two best biased
        scores, in those the best biased scores; weights are the scores without bias."""
        config = self.config
        scores = (self.weights[f"{name}.gate.weight"] @ token).sigmoid()
        biased = (scores + self.weights[f"{name}.gate.expert_bias"]).tolist()
        size = config["num_experts"] // config["n_group"]

        def rank(group: int) -> float:
            members = sorted(biased[group * size : (group + 1) * size])
            return members[-1] + members[-2]

        groups = sorted(range(config["n_group"]), key=rank)[-config["topk_group"] :]
        members = [group * size + place for group in groups for place in range(size)]
        chosen = sorted(members, key=lambda e: biased[e])[-config["num_experts_per_tok"] :]
        weights = scores[chosen]
        if len(chosen) > 1:
            weights = weights / weights.sum()
        weights = weights * config["routed_scaling_factor"]
        return dict(zip(chosen, weights.tolist(), strict=True))

    def _mixed(self, name: str, token: Tensor) -> Tensor:
        out = self._mlp(f"{name}.shared_experts", token)
        for expert, weight in self.routed(name, token).items():
            out = out + weight * self._mlp(f"{name}.experts.{expert}", token)
        return out


@pytest.fixture
def published() -> type[Published]:
    """The published network by hand, of a checkpoint's directory."""
    return Published


def packing(lengths: list[int], block: int) -> BlockPacking:
    """Whole rows end to end, each token seeing its block and those before."""
    spans = []
    start = 0
    for length in lengths:
        allowed = seen_by_blocks(
            range(length),
            block_length=block,
            shift=0,
            open_from=None,
            device=torch.device("cpu"),
        )
        spans.append(Span(start, length, 0, -1, allowed))
        start += length
    return BlockPacking(tuple(spans), None, torch.device("cpu"))


@pytest.fixture
def whole_rows() -> Callable[[list[int], int], BlockPacking]:
    """`whole_rows(lengths, block)`: a packing of rows that are seen block by block."""
    return packing
