"""LLaDA-8B, LLaDA-1.5 and every checkpoint in their format, as a bidirectional stock Llama.

The mapping was proved bit-equal to the published modeling code in float32, and in bfloat16 with
float32 RoPE.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from .family import (
    CheckpointError,
    Family,
    TokenName,
    TokenNames,
    refuse_unless,
    required,
)

# The top-level ff_out is the head and must be renamed before the per-block ff_out, whose leaf name
# it shares.
RENAMES = {
    r"^model\.transformer\.wte\.": "model.embed_tokens.",
    r"^model\.transformer\.ln_f\.": "model.norm.",
    r"^model\.transformer\.ff_out\.": "lm_head.",
    r"^model\.transformer\.blocks\.": "model.layers.",
    r"\.attn_norm\.": ".input_layernorm.",
    r"\.ff_norm\.": ".post_attention_layernorm.",
    r"\.q_proj\.": ".self_attn.q_proj.",
    r"\.k_proj\.": ".self_attn.k_proj.",
    r"\.v_proj\.": ".self_attn.v_proj.",
    r"\.attn_out\.": ".self_attn.o_proj.",
    r"\.ff_proj\.": ".mlp.gate_proj.",
    r"\.up_proj\.": ".mlp.up_proj.",
    r"\.ff_out\.": ".mlp.down_proj.",
}

COVERED: dict[str, tuple[Any, ...]] = {
    "block_type": ("llama",),
    "activation_type": ("silu",),
    "layer_norm_type": ("rms",),
    "alibi": (False,),
    "rope": (True,),
    "include_bias": (False,),
    "include_qkv_bias": (False, None),
    "bias_for_layer_norm": (False, None),
    "attention_layer_norm": (False,),
    "scale_logits": (False,),
    "input_emb_norm": (False,),
    "block_group_size": (1,),
    "rope_full_precision": (True,),
    "layer_norm_with_affine": (True,),
    "clip_qkv": (None,),
    "rope_scaling": (None,),
}

HARMLESS = frozenset(
    {
        "alibi_bias_max",
        "attention_layer_norm_with_affine",
        "embedding_dropout",
        "flash_attention",
        "init_cutoff_factor",
        "init_device",
        "init_fn",
        "init_std",
        "mlp_ratio",
        "precision",
        "residual_dropout",
    }
)
"""Settings of training, of code that is none of ours, or of what is refused where it is on."""


def stock_config(config: Mapping[str, Any]) -> dict[str, Any]:
    """Arguments of LlamaConfig for LLaDA's config.json; raises CheckpointError on a value it does
    not cover."""
    refuse_unless(config, COVERED)
    width = required(config, "d_model")
    heads = required(config, "n_heads")

    if heads < 1 or width % heads:
        raise CheckpointError(f"config.json: d_model {width} is not a multiple of n_heads {heads}")

    key_value_heads = 1 if config.get("multi_query_attention") else heads
    mlp = config.get("mlp_hidden_size") or required(config, "mlp_ratio") * width
    rope_theta = float(required(config, "rope_theta", float))

    return {
        "vocab_size": config.get("embedding_size") or required(config, "vocab_size"),
        "hidden_size": width,
        "intermediate_size": mlp,
        "num_hidden_layers": required(config, "n_layers"),
        "num_attention_heads": heads,
        "num_key_value_heads": config.get("n_kv_heads") or key_value_heads,
        "rms_norm_eps": required(config, "rms_norm_eps", float),
        "max_position_embeddings": required(config, "max_sequence_length"),
        "rope_parameters": {"rope_type": "default", "rope_theta": rope_theta},
        "tie_word_embeddings": required(config, "weight_tying", bool),
        "attention_bias": False,
        "mlp_bias": False,
        "hidden_act": "silu",
        "pad_token_id": None,
        "bos_token_id": None,
        "eos_token_id": None,
    }


def n_candidates(config: Mapping[str, Any]) -> int:
    """How many ids are tokens: rows of the head beyond `vocab_size` are padding and may never be
    sampled."""
    return int(required(config, "vocab_size"))


LLADA = Family(
    stock_class="LlamaForCausalLM",
    stock_config=stock_config,
    renames=RENAMES,
    n_candidates=n_candidates,
    tokens=TokenNames(
        mask=TokenName(key="mask_token_id", text="<|mdm_mask|>"),
        eos=TokenName(key="eos_token_id"),
        eot=TokenName(text="<|eot_id|>", optional=True),
        pad=TokenName(key="pad_token_id", optional=True),
    ),
    float32_rope=True,
    harmless=HARMLESS,
)
