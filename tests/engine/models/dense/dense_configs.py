"""Configs of dense families as they are published, but for the sizes, and the tensors that go with
them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from torch import Tensor

SIZES: dict[str, Any] = {
    "hidden_size": 64,
    "intermediate_size": 96,
    "max_position_embeddings": 1024,
    "num_attention_heads": 4,
    "num_hidden_layers": 2,
    "num_key_value_heads": 2,
}

DREAM: dict[str, Any] = {
    "architectures": ["DreamModel"],
    "attention_dropout": 0.0,
    "auto_map": {
        "AutoConfig": "configuration_dream.DreamConfig",
        "AutoModel": "modeling_dream.DreamModel",
    },
    "bos_token_id": 300,
    "eos_token_id": 300,
    "hidden_act": "silu",
    "initializer_range": 0.02,
    "mask_token_id": 323,
    "max_window_layers": 28,
    "model_type": "Dream",
    "pad_token_id": 300,
    "rms_norm_eps": 1e-06,
    "rope_scaling": None,
    "rope_theta": 1000000.0,
    "sliding_window": None,
    "tie_word_embeddings": False,
    "torch_dtype": "bfloat16",
    "transformers_version": "4.46.2",
    "use_cache": True,
    "use_mrope": False,
    "use_sliding_window": False,
    "vocab_size": 336,
    **SIZES,
}

A2D_QWEN3: dict[str, Any] = {
    "architectures": ["A2DQwen3LMHeadModel"],
    "attention_bias": False,
    "attention_dropout": 0.0,
    "auto_map": {
        "AutoConfig": "modeling_qwen3.A2DQwen3Config",
        "AutoModel": "modeling_qwen3.A2DQwen3LMHeadModel",
        "AutoModelForMaskedLM": "modeling_qwen3.A2DQwen3LMHeadModel",
    },
    "bos_token_id": 300,
    "dtype": "bfloat16",
    "eos_token_id": 302,
    "head_dim": 24,
    "hidden_act": "silu",
    "initializer_range": 0.02,
    "layer_types": ["full_attention", "full_attention"],
    "max_window_layers": 28,
    "model_type": "a2d-qwen3",
    "pad_token_id": 300,
    "rms_norm_eps": 1e-06,
    "rope_scaling": None,
    "rope_theta": 1000000,
    "sliding_window": None,
    "tie_word_embeddings": True,
    "transformers_version": "4.57.0",
    "use_cache": True,
    "use_sliding_window": False,
    "vocab_size": 336,
    **SIZES,
}

A2D_QWEN2: dict[str, Any] = {
    **{key: value for key, value in A2D_QWEN3.items() if key not in ("attention_bias", "head_dim")},
    "architectures": ["A2DQwen2LMHeadModel"],
    "model_type": "a2d-qwen2",
}

A2D_LLAMA: dict[str, Any] = {
    "architectures": ["A2DLlamaLMHeadModel"],
    "attention_bias": False,
    "attention_dropout": 0.0,
    "bos_token_id": 0,
    "dtype": "bfloat16",
    "eos_token_id": [1, 4],
    "head_dim": 16,
    "hidden_act": "silu",
    "initializer_range": 0.02,
    "mlp_bias": False,
    "model_type": "a2d-llama",
    "pretraining_tp": 1,
    "rms_norm_eps": 1e-05,
    "rope_scaling": {
        "factor": 32.0,
        "high_freq_factor": 4.0,
        "low_freq_factor": 1.0,
        "original_max_position_embeddings": 64,
        "rope_type": "llama3",
    },
    "rope_theta": 500000.0,
    "tie_word_embeddings": True,
    "transformers_version": "4.57.0",
    "use_cache": True,
    "vocab_size": 560,
    **SIZES,
}

ILLADA: dict[str, Any] = {
    "architectures": ["ILLaDAForCausalLM"],
    "attention_bias": False,
    "attention_dropout": 0.0,
    "auto_map": {
        "AutoConfig": "configuration_illada.ILLaDAConfig",
        "AutoModel": "modeling_illada.ILLaDAForCausalLM",
        "AutoModelForCausalLM": "modeling_illada.ILLaDAForCausalLM",
    },
    "bos_token_id": 0,
    "dtype": "bfloat16",
    "eos_token_id": 2,
    "hidden_act": "silu",
    "initializer_range": 0.02,
    "layer_norm_eps": None,
    "mlp_bias": False,
    "model_type": "illada",
    "pad_token_id": 1,
    "resid_pdrop": 0.0,
    "rms_norm_eps": 1e-05,
    "rope_scaling": None,
    "rope_theta": 500000.0,
    "tie_word_embeddings": True,
    "transformers_version": "4.57.1",
    "vocab_size": 560,
    **SIZES,
}

SDAR: dict[str, Any] = {
    "architectures": ["SDARForCausalLM"],
    "attention_bias": False,
    "attention_dropout": 0.0,
    "attn_implementation": "flex_attention",
    "auto_map": {
        "AutoConfig": "configuration_sdar.SDARConfig",
        "AutoModel": "modeling_sdar.SDARModel",
        "AutoModelForCausalLM": "modeling_sdar.SDARForCausalLM",
    },
    "block_size": 4,
    "bos_token_id": 300,
    "debug": False,
    "eos_token_id": 300,
    "ep_size": 1,
    "fuse_cross_entropy": True,
    "head_dim": 24,
    "hidden_act": "silu",
    "initializer_range": 0.02,
    "mask_token_id": 326,
    "max_window_layers": 36,
    "micro_forward": False,
    "model_type": "sdar",
    "rms_norm_eps": 1e-06,
    "rope_scaling": None,
    "rope_theta": 1000000,
    "skip_checkpoint": False,
    "sliding_window": None,
    "tie_word_embeddings": False,
    "torch_dtype": "bfloat16",
    "transformers_version": "4.52.4",
    "use_cache": False,
    "use_deepep": False,
    "use_sliding_window": False,
    "vocab_size": 336,
    **SIZES,
}

FAST_DLLM_V2: dict[str, Any] = {
    "architectures": ["Fast_dLLM_QwenForCausalLM"],
    "attention_dropout": 0.0,
    "auto_map": {
        "AutoConfig": "configuration.Fast_dLLM_QwenConfig",
        "AutoModel": "modeling.Fast_dLLM_QwenModel",
        "AutoModelForCausalLM": "modeling.Fast_dLLM_QwenForCausalLM",
    },
    "bd_size": 32,
    "bos_token_id": 300,
    "conplemenrary_mask": True,
    "eos_token_id": 302,
    "hidden_act": "silu",
    "initializer_range": 0.02,
    "layer_types": ["full_attention", "full_attention"],
    "max_window_layers": 28,
    "model_type": "Fast_dLLM_Qwen",
    "pad_token_id": 302,
    "rms_norm_eps": 1e-06,
    "rope_scaling": None,
    "rope_theta": 1000000.0,
    "sliding_window": None,
    "tie_word_embeddings": False,
    "torch_dtype": "bfloat16",
    "transformers_version": "4.53.1",
    "use_cache": True,
    "use_sliding_window": False,
    "vocab_size": 336,
    **SIZES,
}

OPDLM: dict[str, Any] = {**A2D_QWEN3, "architectures": ["_A2DQwen3LMHeadModel"]}

FULL = {
    "Dream": DREAM,
    "A2D-Qwen3": A2D_QWEN3,
    "A2D-Qwen2": A2D_QWEN2,
    "A2D-Llama": A2D_LLAMA,
    "iLLaDA": ILLADA,
}
"""Families that attend fully."""

BY_BLOCKS = {
    "SDAR": SDAR,
    "Fast-dLLM v2": FAST_DLLM_V2,
    "OPDLM": OPDLM,
    "A2D-Qwen3 bd3lm": A2D_QWEN3,
    "A2D-Qwen2 bd3lm": A2D_QWEN2,
    "A2D-Llama bd3lm": A2D_LLAMA,
}
"""Families that attend block by block."""

CONFIGS = FULL | BY_BLOCKS

BIASED = ("Dream", "A2D-Qwen2", "A2D-Qwen2 bd3lm", "Fast-dLLM v2")
"""Families whose queries, keys and values have biases."""

NORMED = ("A2D-Qwen3", "A2D-Qwen3 bd3lm", "OPDLM", "SDAR")
"""Families whose queries and keys are normalised."""


def shapes_of(family: str, config: dict[str, Any]) -> dict[str, tuple[int, ...]]:
    """Every tensor of the published files."""
    width, rows = config["hidden_size"], config["vocab_size"]
    heads, key_heads = config["num_attention_heads"], config["num_key_value_heads"]
    size = config.get("head_dim", width // heads)
    inner = config["intermediate_size"]
    shapes = {"model.embed_tokens.weight": (rows, width), "model.norm.weight": (width,)}
    if not config["tie_word_embeddings"]:
        shapes["lm_head.weight"] = (rows, width)
    for layer in range(config["num_hidden_layers"]):
        block = {
            "input_layernorm.weight": (width,),
            "post_attention_layernorm.weight": (width,),
            "self_attn.q_proj.weight": (heads * size, width),
            "self_attn.k_proj.weight": (key_heads * size, width),
            "self_attn.v_proj.weight": (key_heads * size, width),
            "self_attn.o_proj.weight": (width, heads * size),
            "mlp.gate_proj.weight": (inner, width),
            "mlp.up_proj.weight": (inner, width),
            "mlp.down_proj.weight": (width, inner),
        }
        if family in BIASED:
            block["self_attn.q_proj.bias"] = (heads * size,)
            block["self_attn.k_proj.bias"] = (key_heads * size,)
            block["self_attn.v_proj.bias"] = (key_heads * size,)
        if family in NORMED:
            block["self_attn.q_norm.weight"] = (size,)
            block["self_attn.k_norm.weight"] = (size,)
        shapes |= {f"model.layers.{layer}.{name}": shape for name, shape in block.items()}
    return shapes


def draw(name: str, shape: tuple[int, ...], generator: torch.Generator) -> Tensor:
    noise = torch.randn(shape, generator=generator)
    if name.endswith("bias"):
        return 0.3 * noise
    if len(shape) == 1:
        return 1 + 0.3 * noise
    return noise * (3.0 if name.startswith("lm_head") else 1.0) / shape[1] ** 0.5


def write_weights(directory: Path, tensors: dict[str, Tensor], *, files: int) -> None:
    """The tensors in one file, or in several with their index."""
    if files == 1:
        save_file(tensors, directory / "model.safetensors", metadata={"format": "pt"})
        return
    names = sorted(tensors)
    weight_map = {}
    for number in range(files):
        file = f"model-{number + 1:05}-of-{files:05}.safetensors"
        part = {name: tensors[name] for name in names[number::files]}
        save_file(part, directory / file, metadata={"format": "pt"})
        weight_map |= dict.fromkeys(part, file)
    index = {"metadata": {}, "weight_map": weight_map}
    (directory / "model.safetensors.index.json").write_text(json.dumps(index))
