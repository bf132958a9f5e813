"""LLaDA2.0 and 2.1, mixtures of experts that attend block by block, as a stock GLM4-MoE.

The published code (modeling_llada2_moe.py) has one projection for queries, keys and values, and
other names. Its router adds a bias to the scores for the choice alone: of each group of experts the
two best scores count, of the best groups the best experts are taken, and their scores without the
bias are divided by their sum and scaled. LLaDA2.2 chooses in another way and is refused.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from .experts import QWEN3_MOE
from .family import (
    Blocks,
    CheckpointError,
    Family,
    Split,
    TokenName,
    TokenNames,
    refuse_unless,
    required,
)
from .names import names_of
from .stock_decoder import decoder_arguments, positive, rotatable

COVERED: dict[str, tuple[Any, ...]] = {
    "use_bias": (False, None),
    "use_qkv_bias": (False, None),
    "use_qk_norm": (True, None),
    "use_rmsnorm": (True, None),
    "norm_head": (False, None),
    "norm_topk_prob": (True, None),
    "score_function": ("sigmoid", None),
    "moe_router_enable_expert_bias": (True, None),
    "router_dtype": ("fp32", None),
    "rope_scaling": (None,),
    "rope_parameters": (None,),
    "num_nextn_predict_layers": (0, None),
}

HARMLESS = frozenset(
    {
        "embedding_dropout",
        "max_window_layers",
        "moe_shared_expert_intermediate_size",  # the published code multiplies two others
        "mtp_loss_scaling_factor",
        "output_dropout",
        "output_router_logits",
        "router_aux_loss_coef",
        "sliding_window",  # which use_sliding_window, where it is on, is refused for
    }
)
"""Settings of training and of the form of what a call gives, and those that are never read."""

LENGTH_KEYS = ("block_size", "block_length")

MASK = 156895
END = 156892
"""The published sampler's, where config.json says nothing (`generate` of modeling_llada2_moe.py).
"""

OF_2_2 = ("expert_capacity", "delete_token_id", "split_token_id")
"""Keys of config.json that LLaDA2.2 alone has."""

NAME_OF_2_2 = re.compile(r"LLaDA[-_ ]?2[._]2", re.IGNORECASE)

BEST_OF_A_GROUP = 2
"""Scores of a group of experts that decide whether it is among the best groups."""


def stock_config(config: Mapping[str, Any]) -> dict[str, Any]:
    """Arguments of Glm4MoeConfig for LLaDA2's config.json; raises CheckpointError on a value it
    does not cover."""
    refuse_unless(config, COVERED)
    size = positive(config, "head_dim")
    theta = float(required(config, "rope_theta", float))
    per_token = positive(config, "num_experts_per_tok")
    layers = positive(config, "num_hidden_layers")
    dense = required(config, "first_k_dense_replace")
    if not 0 <= dense <= layers:
        raise CheckpointError(
            f"config.json: first_k_dense_replace is {dense}, expected 0 to {layers}, the number of "
            "layers"
        )

    return {
        **decoder_arguments(config, block_keys=LENGTH_KEYS),
        **_routing(config, per_token),
        "head_dim": size,
        "moe_intermediate_size": positive(config, "moe_intermediate_size"),
        "n_shared_experts": positive(config, "num_shared_experts"),
        "first_k_dense_replace": dense,
        "rope_parameters": {
            "rope_type": "default",
            "rope_theta": theta,
            "partial_rotary_factor": _rotated_share(config, size),
        },
        "use_qk_norm": True,
        "attention_bias": False,
    }


def _rotated_share(config: Mapping[str, Any], size: int) -> float:
    """Which share of a head's `size` features is rotated, the first ones."""
    share = float(required(config, "partial_rotary_factor", float))
    turned = int(size * share)
    if not 0 < turned <= size:
        raise CheckpointError(
            f"config.json: partial_rotary_factor is {share:g}, expected more than 0 and at most 1"
        )
    refuse_unless(config, {"rotary_dim": (turned, None)})
    rotatable(turned)
    return share


def _routing(config: Mapping[str, Any], per_token: int) -> dict[str, Any]:
    """Arguments of how a token's experts are chosen and weighed."""
    experts = positive(config, "num_experts")
    groups = positive(config, "n_group")
    best = positive(config, "topk_group")
    if experts % groups or experts // groups < BEST_OF_A_GROUP or best > groups:
        raise CheckpointError(
            f"config.json: num_experts is {experts}, n_group {groups}, topk_group {best}; expected "
            f"equal groups of {BEST_OF_A_GROUP} or more experts, and no more groups taken than "
            "there are"
        )
    if per_token > best * (experts // groups):
        raise CheckpointError(
            f"config.json: num_experts_per_tok is {per_token}, but topk_group {best} leaves "
            f"{best * (experts // groups)} experts to choose from"
        )
    return {
        "n_routed_experts": experts,
        "num_experts_per_tok": per_token,
        "n_group": groups,
        "topk_group": best,
        "routed_scaling_factor": float(required(config, "routed_scaling_factor", float)),
        # The published code leaves the score of a single expert as it is.
        "norm_topk_prob": per_token > 1,
    }


def n_candidates(config: Mapping[str, Any]) -> int:
    """Every row of the head may be sampled, as in the published sampler."""
    return int(required(config, "vocab_size"))


def refuse_2_2(directory: Path, config: Mapping[str, Any]) -> None:
    """Raise CheckpointError where a checkpoint is LLaDA2.2, by a key of its config.json or by what
    it calls itself."""
    said = [f"config.json: {key} is {config[key]!r}" for key in OF_2_2 if config.get(key)]
    for where, name in names_of(directory, config).items():
        if NAME_OF_2_2.search(name):
            said.append(where)
    if said:
        raise CheckpointError(
            f"{directory}: {said[0]}, which says that it is LLaDA2.2: it chooses the experts of a "
            "whole block before those of a token, and deletes and inserts tokens, none of which is "
            "done here; use LLaDA2.0 or LLaDA2.1"
        )


LLADA2 = Family(
    stock_class="Glm4MoeForCausalLM",
    stock_config=stock_config,
    renames={
        r"\.word_embeddings\.": ".embed_tokens.",
        r"\.attention\.query_key_value\.": ".self_attn.query_key_value.",
        r"\.attention\.query_layernorm\.": ".self_attn.q_norm.",
        r"\.attention\.key_layernorm\.": ".self_attn.k_norm.",
        r"\.attention\.dense\.": ".self_attn.o_proj.",
        r"\.gate\.expert_bias": ".gate.e_score_correction_bias",
    },
    stacked=QWEN3_MOE,
    split=(
        Split(
            ".self_attn.query_key_value.weight",
            (
                ".self_attn.q_proj.weight",
                ".self_attn.k_proj.weight",
                ".self_attn.v_proj.weight",
            ),
        ),
    ),
    n_candidates=n_candidates,
    tokens=TokenNames(
        mask=TokenName(key="mask_token_id", text="<|mask|>", key_optional=True, fallback=MASK),
        eos=TokenName(key="eos_token_id", key_optional=True, fallback=END),
        eot=TokenName(text="<|role_end|>", optional=True),
        pad=TokenName(key="pad_token_id", optional=True),
    ),
    attention="blocks",
    blocks=Blocks(length=32, keys=LENGTH_KEYS),
    policy="llada2",
    harmless=HARMLESS,
    refuse=refuse_2_2,
)
