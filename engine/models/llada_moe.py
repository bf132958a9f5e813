"""LLaDA-MoE and every checkpoint in its format, as a bidirectional stock Qwen3-MoE whose routing
weights are not normalised.

The tensors have the stock class's names. The published code (modeling_lladamoe.py) never normalises
the weights of the chosen experts and always takes their softmax, whatever config.json says of
norm_topk_prob; it keeps routed_scaling_factor, router_num_group and router_topk_group and uses none
of them.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from .experts import QWEN3_MOE
from .family import CheckpointError, Family, TokenName, TokenNames, refuse_unless, required

COVERED: dict[str, tuple[Any, ...]] = {
    "hidden_act": ("silu",),
    "qk_layernorm": (True,),
    "attention_bias": (False,),
    "clip_qkv": (None,),
    "rope_scaling": (None,),
    "partial_rotary_factor": (1, None),
    "moe_router_score_function": ("softmax", None),
    "moe_router_enable_expert_bias": (False, None),
    "shared_expert_intermediate_size": (None,),
}

HARMLESS = frozenset(
    {
        "dense_intermediate_size",  # of layers that a model without dense ones does not have
        "norm_topk_prob",
        "output_router_logits",
        "routed_scaling_factor",
        "router_aux_loss_coef",
        "router_num_group",
        "router_topk_group",
    }
)
"""Settings of training, and those that the published code keeps and does not use."""

MASK = 156895
"""The published sampler's (generate.py of LLaDA-MoE-7B-A1B)."""

CHAT_TEMPLATE = (
    "{% for message in messages %}"
    "{{ '<role>' + ('HUMAN' if message['role'] == 'user' else message['role'] | upper) }}"
    "{{ '</role>' + message['content'] + '<|role_end|>' }}"
    "{% endfor %}"
    "{% if add_generation_prompt %}{{ '<role>ASSISTANT</role>' }}{% endif %}"
)


def stock_config(config: Mapping[str, Any]) -> dict[str, Any]:
    """Arguments of Qwen3MoeConfig for LLaDA-MoE's config.json; raises CheckpointError on a value it
    does not cover."""
    refuse_unless(config, COVERED)
    width = required(config, "hidden_size")
    heads = required(config, "num_attention_heads")
    if heads < 1 or width % heads:
        raise CheckpointError(
            f"config.json: hidden_size {width} is not a multiple of num_attention_heads {heads}"
        )

    layers = required(config, "num_hidden_layers")
    dense = dense_layers(config, layers)
    expert_width = required(config, "expert_intermediate_size")
    dense_width = required(config, "dense_intermediate_size") if dense else expert_width
    rope_theta = float(required(config, "rope_theta", float))

    return {
        "vocab_size": required(config, "vocab_size"),
        "hidden_size": width,
        "head_dim": width // heads,
        "intermediate_size": dense_width,
        "moe_intermediate_size": expert_width,
        "num_experts": required(config, "num_experts"),
        "num_experts_per_tok": required(config, "num_experts_per_tok"),
        "norm_topk_prob": False,
        "mlp_only_layers": dense,
        "num_hidden_layers": layers,
        "num_attention_heads": heads,
        "num_key_value_heads": config.get("num_key_value_heads") or heads,
        "rms_norm_eps": float(required(config, "rms_norm_eps", float)),
        "max_position_embeddings": required(config, "max_position_embeddings"),
        "rope_parameters": {"rope_type": "default", "rope_theta": rope_theta},
        "tie_word_embeddings": bool(config.get("tie_word_embeddings", False)),
        "attention_bias": False,
        "hidden_act": "silu",
        "pad_token_id": None,
        "bos_token_id": None,
        "eos_token_id": None,
    }


def dense_layers(config: Mapping[str, Any], layers: int) -> list[int]:
    """The layers without experts: those with 0 in moe_layer_freq, which has a number for each of
    the `layers`. Raises CheckpointError."""
    frequencies = required(config, "moe_layer_freq", list)
    if len(frequencies) != layers or not all(number in (0, 1) for number in frequencies):
        raise CheckpointError(
            f"config.json: moe_layer_freq must have a 0 or 1 for each of {layers} layers, got "
            f"{frequencies!r}"
        )
    return [layer for layer, number in enumerate(frequencies) if number == 0]


def n_candidates(config: Mapping[str, Any]) -> int:
    """How many ids the published sampler chooses from: all rows of the head."""
    return int(required(config, "vocab_size"))


LLADA_MOE = Family(
    stock_class="Qwen3MoeForCausalLM",
    stock_config=stock_config,
    renames={},
    stacked=QWEN3_MOE,
    n_candidates=n_candidates,
    tokens=TokenNames(
        mask=TokenName(key="mask_token_id", text="<|mask|>", key_optional=True, fallback=MASK),
        eos=TokenName(key="eos_token_id"),
        eot=TokenName(text="<|role_end|>", optional=True),
        pad=TokenName(key="pad_token_id", optional=True),
    ),
    chat_template=CHAT_TEMPLATE,
    harmless=HARMLESS,
)
