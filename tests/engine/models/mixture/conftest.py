"""Checkpoints of mixtures of experts, random and tiny, in the format that is published; and their
network written out token by token and expert by expert, from the tensors of the file."""

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

LLADA_MOE: dict[str, Any] = {
    "architectures": ["LLaDAMoEModelLM"],
    "attention_bias": False,
    "attention_dropout": 0.0,
    "auto_map": {
        "AutoConfig": "configuration_lladamoe.LLaDAConfig",
        "AutoModel": "modeling_lladamoe.LLaDAMoEModelLM",
        "AutoModelForCausalLM": "modeling_lladamoe.LLaDAMoEModelLM",
    },
    "clip_qkv": None,
    "dense_intermediate_size": 80,
    "eos_token_id": 1,
    "expert_intermediate_size": 32,
    "hidden_act": "silu",
    "hidden_size": 64,
    "initializer_range": 0.02,
    "mask_token_id": 5,
    "max_position_embeddings": 1024,
    "model_type": "llada",
    "moe_layer_freq": [1, 0, 1],
    "moe_router_enable_expert_bias": False,
    "moe_router_score_function": "softmax",
    "norm_topk_prob": None,
    "num_attention_heads": 4,
    "num_experts": 8,
    "num_experts_per_tok": 3,
    "num_hidden_layers": 3,
    "num_key_value_heads": 4,
    "output_router_logits": False,
    "pad_token_id": 1,
    "partial_rotary_factor": 1,
    "qk_layernorm": True,
    "rms_norm_eps": 1e-05,
    "rope_scaling": None,
    "rope_theta": 50000,
    "routed_scaling_factor": 1,
    "router_aux_loss_coef": 0.01,
    "shared_expert_intermediate_size": None,
    "tie_word_embeddings": False,
    "torch_dtype": "bfloat16",
    "use_cache": False,
    "vocab_size": 560,
}

RND1: dict[str, Any] = {
    "architectures": ["RND1LM"],
    "attention_bias": False,
    "attention_dropout": 0.0,
    "auto_map": {
        "AutoConfig": "configuration_rnd.RND1Config",
        "AutoModel": "modeling_rnd.RND1Model",
        "AutoModelForMaskedLM": "modeling_rnd.RND1LM",
    },
    "decoder_sparse_step": 1,
    "dtype": "bfloat16",
    "eos_token_id": 1,
    "head_dim": 24,
    "hidden_act": "silu",
    "hidden_size": 64,
    "initializer_range": 0.02,
    "intermediate_size": 96,
    "is_causal": False,
    "mask_token_id": 5,
    "max_position_embeddings": 1024,
    "max_window_layers": 48,
    "mlp_only_layers": [],
    "model_type": "rnd1",
    "moe_backend": "hf",
    "moe_intermediate_size": 32,
    "norm_topk_prob": True,
    "num_attention_heads": 4,
    "num_diffusion_steps": 256,
    "num_experts": 8,
    "num_experts_per_tok": 3,
    "num_hidden_layers": 2,
    "num_key_value_heads": 2,
    "output_router_logits": False,
    "pad_token_id": 2,
    "rms_norm_eps": 1e-06,
    "rope_scaling": False,
    "rope_theta": 1000000.0,
    "router_aux_loss_coef": 0.001,
    "sliding_window": False,
    "tie_word_embeddings": False,
    "use_cache": False,
    "use_sliding_window": False,
    "vocab_size": 560,
}

SDAR_MOE: dict[str, Any] = {
    "architectures": ["SDARMoeForCausalLM"],
    "attention_bias": False,
    "attention_dropout": 0.0,
    "auto_map": {
        "AutoConfig": "configuration_sdar_moe.SDARMoeConfig",
        "AutoModel": "modeling_sdar_moe.SDARMoeModel",
        "AutoModelForCausalLM": "modeling_sdar_moe.SDARMoeForCausalLM",
    },
    "block_size": 4,
    "bos_token_id": 1,
    "decoder_sparse_step": 1,
    "eos_token_id": 1,
    "fuse_cross_entropy": True,
    "head_dim": 24,
    "hidden_act": "silu",
    "hidden_size": 64,
    "initializer_range": 0.02,
    "intermediate_size": 80,
    "mask_token_id": 5,
    "max_position_embeddings": 1024,
    "max_window_layers": 48,
    "mlp_only_layers": [1],
    "model_type": "sdar_moe",
    "moe_intermediate_size": 32,
    "norm_topk_prob": True,
    "num_attention_heads": 4,
    "num_experts": 8,
    "num_experts_per_tok": 3,
    "num_hidden_layers": 3,
    "num_key_value_heads": 2,
    "output_router_logits": False,
    "rms_norm_eps": 1e-06,
    "rope_scaling": None,
    "rope_theta": 1000000.0,
    "router_aux_loss_coef": 0.001,
    "sliding_window": None,
    "tie_word_embeddings": False,
    "torch_dtype": "bfloat16",
    "use_cache": False,
    "use_sliding_window": False,
    "vocab_size": 560,
}

CONFIGS = {"LLaDA-MoE": LLADA_MOE, "RND1": RND1, "SDAR-MoE": SDAR_MOE}

TOKENS = {
    "LLaDA-MoE": {
        "<|mdm_mask|>": "<|mask|>",
        "<|eot_id|>": "<|role_end|>",
        "<|start_header_id|>": "<role>",
        "<|end_header_id|>": "</role>",
    },
    "RND1": {"<|eot_id|>": "<|im_end|>", "<|start_header_id|>": "<|im_start|>"},
    "SDAR-MoE": {"<|mdm_mask|>": "<|MASK|>", "<|eot_id|>": "<|im_end|>"},
}
"""What the bundled tokenizer calls a token, and what the family's does."""


def expert_width(config: dict[str, Any]) -> int:
    """Inner features of an expert."""
    return config.get("expert_intermediate_size") or config["moe_intermediate_size"]


def is_dense(config: dict[str, Any], layer: int) -> bool:
    """Whether a layer has no experts."""
    if layer in config.get("mlp_only_layers", ()):
        return True
    return config.get("moe_layer_freq", [1] * (layer + 1))[layer] == 0


def shapes_of(config: dict[str, Any]) -> dict[str, tuple[int, ...]]:
    """Every tensor of the published files, whose names both families share."""
    width, rows = config["hidden_size"], config["vocab_size"]
    heads, key_heads = config["num_attention_heads"], config["num_key_value_heads"]
    size = config.get("head_dim", width // heads)
    inner = expert_width(config)
    shapes = {"model.embed_tokens": (rows, width), "model.norm": (width,), "lm_head": (rows, width)}
    for layer in range(config["num_hidden_layers"]):
        block = {
            "input_layernorm": (width,),
            "post_attention_layernorm": (width,),
            "self_attn.q_proj": (heads * size, width),
            "self_attn.k_proj": (key_heads * size, width),
            "self_attn.v_proj": (key_heads * size, width),
            "self_attn.o_proj": (width, heads * size),
            "self_attn.q_norm": (size,),
            "self_attn.k_norm": (size,),
        }
        if is_dense(config, layer):
            dense = config.get("dense_intermediate_size") or config["intermediate_size"]
            block |= mlp_shapes("mlp", dense, width)
        else:
            block["mlp.gate"] = (config["num_experts"], width)
            for expert in range(config["num_experts"]):
                block |= mlp_shapes(f"mlp.experts.{expert}", inner, width)
        shapes |= {f"model.layers.{layer}.{name}": shape for name, shape in block.items()}
    return {f"{name}.weight": shape for name, shape in shapes.items()}


def mlp_shapes(name: str, inner: int, width: int) -> dict[str, tuple[int, ...]]:
    """The three matrices of a gated MLP."""
    return {
        f"{name}.gate_proj": (inner, width),
        f"{name}.up_proj": (inner, width),
        f"{name}.down_proj": (width, inner),
    }


def draw(name: str, shape: tuple[int, ...], generator: torch.Generator) -> Tensor:
    noise = torch.randn(shape, generator=generator)
    if len(shape) == 1:
        return 1 + 0.3 * noise
    sharp = 3.0 if name.startswith("lm_head") or ".gate.weight" in name else 1.0
    return sharp * noise / shape[1] ** 0.5


def write_checkpoint(directory: Path, family: str, **changes: Any) -> Path:
    """A checkpoint of the family in two files; `changes` go into config.json."""
    directory.mkdir(parents=True)
    for name in ("tokenizer.json", "tokenizer_config.json"):
        text = (BUNDLED / name).read_text()
        for ours, theirs in TOKENS[family].items():
            text = text.replace(ours, theirs)
        (directory / name).write_text(text)
    tokenizer = json.loads((directory / "tokenizer_config.json").read_text())
    del tokenizer["chat_template"]
    (directory / "tokenizer_config.json").write_text(json.dumps(tokenizer))

    config = CONFIGS[family] | changes
    (directory / "config.json").write_text(json.dumps(config))
    generator = torch.Generator().manual_seed(5)
    tensors = {name: draw(name, shape, generator) for name, shape in shapes_of(config).items()}
    names = sorted(tensors)
    files = {
        "model-00001-of-00002.safetensors": names[::2],
        "model-00002-of-00002.safetensors": names[1::2],
    }
    weight_map = {}
    for file, members in files.items():
        part = {name: tensors[name] for name in members}
        save_file(part, directory / file, metadata={"format": "pt"})
        weight_map |= dict.fromkeys(members, file)
    index = {"metadata": {}, "weight_map": weight_map}
    (directory / "model.safetensors.index.json").write_text(json.dumps(index))
    return directory


@pytest.fixture
def mixture(tmp_path: Path) -> Callable[..., Path]:
    """`mixture(family, **changes)` writes a checkpoint."""

    def write(family: str, name: str = "checkpoint", **changes: Any) -> Path:
        return write_checkpoint(tmp_path / name, family, **changes)

    return write


@pytest.fixture
def mixture_config() -> Callable[[str], dict[str, Any]]:
    """A family's config.json as the checkpoints have it."""
    return lambda family: dict(CONFIGS[family])


@pytest.fixture
def mixture_shapes() -> Callable[..., dict[str, tuple[int, ...]]]:
    """`mixture_shapes(family, **changes)`: every tensor of a checkpoint."""
    return lambda family, **changes: shapes_of(CONFIGS[family] | changes)


class Published:
    """The published networks by hand (modeling_lladamoe.py, modeling_rnd.py, and SDAR's, whose
    config.json says whether the weights of chosen experts are made to add up to 1): one sequence, one
    token and one expert after the other, in the dtype asked for."""

    def __init__(self, directory: Path, dtype: torch.dtype = torch.float64) -> None:
        self.config = json.loads((directory / "config.json").read_text())
        self.weights: dict[str, Tensor] = {}
        for file in directory.glob("*.safetensors"):
            for name, tensor in load_file(file).items():
                self.weights[name.removesuffix(".weight")] = tensor.to(dtype)
        said = {"RND1LM": True, "SDARMoeForCausalLM": self.config["norm_topk_prob"]}
        self.normalised = said.get(self.config["architectures"][0], False)

    def logits(self, ids: Tensor, allowed: Tensor | None = None) -> Tensor:
        """Logits [L, V] of one sequence [L] whose tokens see those `allowed` [L, L], or all."""
        self.allowed = torch.ones(len(ids), len(ids)).bool() if allowed is None else allowed
        states = self.weights["model.embed_tokens"][ids]
        for layer in range(self.config["num_hidden_layers"]):
            name = f"model.layers.{layer}"
            states = states + self._attended(name, self._norm(states, f"{name}.input_layernorm"))
            normed = self._norm(states, f"{name}.post_attention_layernorm")
            if is_dense(self.config, layer):
                states = states + self._mlp(f"{name}.mlp", normed)
            else:
                mixed = [self._mixed(f"{name}.mlp", token) for token in normed]
                states = states + torch.stack(mixed)
        return self._norm(states, "model.norm") @ self.weights["lm_head"].T

    def _norm(self, x: Tensor, name: str) -> Tensor:
        scale = torch.rsqrt(x.square().mean(-1, keepdim=True) + self.config["rms_norm_eps"])
        return self.weights[name] * (x * scale)

    def _attended(self, name: str, x: Tensor) -> Tensor:
        config = self.config
        heads, key_heads = config["num_attention_heads"], config["num_key_value_heads"]
        size = config.get("head_dim", config["hidden_size"] // heads)
        query = self._heads(f"{name}.self_attn.q", x, size, normed=True)
        key = self._heads(f"{name}.self_attn.k", x, size, normed=True)
        value = self._heads(f"{name}.self_attn.v", x, size, normed=False)
        key, value = (t.repeat_interleave(heads // key_heads, 0) for t in (key, value))
        score = query @ key.transpose(-1, -2) / math.sqrt(size)
        weight = score.masked_fill(~self.allowed, -math.inf).softmax(-1)
        mixed = (weight @ value).transpose(0, 1).reshape(len(x), heads * size)
        return mixed @ self.weights[f"{name}.self_attn.o_proj"].T

    def _heads(self, name: str, x: Tensor, size: int, *, normed: bool) -> Tensor:
        heads = (x @ self.weights[f"{name}_proj"].T).view(len(x), -1, size)
        if not normed:
            return heads.transpose(0, 1)
        heads = self._norm(heads, f"{name}_norm").transpose(0, 1)
        inverse = 1.0 / self.config["rope_theta"] ** (torch.arange(0, size, 2).float() / size)
        angles = torch.outer(torch.arange(len(x)).float(), inverse).repeat(1, 2)
        a, b = heads.chunk(2, -1)
        turned = torch.cat([-b, a], -1)
        return heads * angles.cos().to(x.dtype) + turned * angles.sin().to(x.dtype)

    def _mlp(self, name: str, x: Tensor) -> Tensor:
        gate = torch.nn.functional.silu(x @ self.weights[f"{name}.gate_proj"].T)
        return (gate * (x @ self.weights[f"{name}.up_proj"].T)) @ self.weights[
            f"{name}.down_proj"
        ].T

    def _mixed(self, name: str, token: Tensor) -> Tensor:
        probability = (self.weights[f"{name}.gate"] @ token).softmax(0)
        chosen = probability.argsort(descending=True)[: self.config["num_experts_per_tok"]]
        weights = probability[chosen]
        if self.normalised:
            weights = weights / weights.sum()
        outputs = [self._mlp(f"{name}.experts.{int(e)}", token) for e in chosen]
        return sum(w * out for w, out in zip(weights, outputs, strict=True))  # type: ignore[return-value]


@pytest.fixture
def published() -> type[Published]:
    """The published network by hand, of a checkpoint's directory."""
    return Published
