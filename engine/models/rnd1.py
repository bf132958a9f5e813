"""RND1, a Qwen3-MoE continued as a diffusion model, as a bidirectional stock Qwen3-MoE whose
predictions stand one position before their token.

The tensors have the stock class's names. The published code sets norm_topk_prob, the rotation and
the windows to fixed values whatever config.json says (configuration_rnd.py); another value is
therefore refused.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from .experts import QWEN3_MOE
from .family import Family, TokenName, TokenNames, refuse_unless, required

COVERED: dict[str, tuple[Any, ...]] = {
    "hidden_act": ("silu",),
    "attention_bias": (False,),
    "norm_topk_prob": (True,),
    "decoder_sparse_step": (1,),
    "mlp_only_layers": ([], None),
    "rope_scaling": (None, False),
    "rope_parameters": (None,),
    "sliding_window": (None, False),
    "use_sliding_window": (False, None),
    "tie_word_embeddings": (False,),
}

HARMLESS = frozenset(
    {
        "is_causal",
        "max_window_layers",
        "moe_backend",
        "num_diffusion_steps",
        "output_router_logits",
        "router_aux_loss_coef",
    }
)
"""Settings of training, of other code and of the sampler."""

MASK = 151669
"""What the published code takes where config.json says nothing (configuration_rnd.py)."""

SIZES = (
    "vocab_size",
    "hidden_size",
    "head_dim",
    "intermediate_size",
    "moe_intermediate_size",
    "num_experts",
    "num_experts_per_tok",
    "num_hidden_layers",
    "num_attention_heads",
    "num_key_value_heads",
    "max_position_embeddings",
)


def stock_config(config: Mapping[str, Any]) -> dict[str, Any]:
    """Arguments of Qwen3MoeConfig for RND1's config.json; raises CheckpointError on a value it does
    not cover."""
    refuse_unless(config, COVERED)
    rope_theta = float(required(config, "rope_theta", float))
    sizes = {name: required(config, name) for name in SIZES}
    return sizes | {
        "norm_topk_prob": True,
        "rms_norm_eps": float(required(config, "rms_norm_eps", float)),
        "rope_parameters": {"rope_type": "default", "rope_theta": rope_theta},
        "tie_word_embeddings": False,
        "attention_bias": False,
        "hidden_act": "silu",
        "pad_token_id": None,
        "bos_token_id": None,
        "eos_token_id": None,
    }


def n_candidates(config: Mapping[str, Any]) -> int:
    """How many ids the published sampler chooses from: all rows of the head."""
    return int(required(config, "vocab_size"))


RND1 = Family(
    stock_class="Qwen3MoeForCausalLM",
    stock_config=stock_config,
    renames={},
    stacked=QWEN3_MOE,
    n_candidates=n_candidates,
    tokens=TokenNames(
        mask=TokenName(key="mask_token_id", key_optional=True, fallback=MASK),
        eos=TokenName(key="eos_token_id"),
        eot=TokenName(text="<|im_end|>", optional=True),
        pad=TokenName(key="pad_token_id", optional=True),
    ),
    read_offset=-1,
    harmless=HARMLESS,
    policy="rnd1",
    chat_template="Question: {{ messages[-1]['content'] }}\nAnswer:",
)
