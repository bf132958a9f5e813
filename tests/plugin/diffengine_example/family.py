"""Checkpoints of `ExampleModel`: a Qwen2 whose predictions stand one position before their token."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from diffengine.engine.models.family import (
    Family,
    TokenName,
    TokenNames,
    refuse_unless,
    required,
)

KEPT = (
    "vocab_size",
    "hidden_size",
    "intermediate_size",
    "num_hidden_layers",
    "num_attention_heads",
    "num_key_value_heads",
    "max_position_embeddings",
)


def stock_config(config: Mapping[str, Any]) -> dict[str, Any]:
    """Arguments of Qwen2Config; raises CheckpointError on a value that they do not cover."""
    refuse_unless(config, {"use_sliding_window": (False,), "hidden_act": ("silu",)})
    return {
        **{name: required(config, name) for name in KEPT},
        "rms_norm_eps": required(config, "rms_norm_eps", float),
        "rope_parameters": {
            "rope_type": "default",
            "rope_theta": float(required(config, "rope_theta", float)),
        },
        "tie_word_embeddings": required(config, "tie_word_embeddings", bool),
    }


def n_candidates(config: Mapping[str, Any]) -> int:
    """Every row of the head is a token."""
    return int(required(config, "vocab_size"))


EXAMPLE = Family(
    stock_class="Qwen2ForCausalLM",
    stock_config=stock_config,
    renames={},
    n_candidates=n_candidates,
    tokens=TokenNames(
        mask=TokenName(key="mask_token_id"),
        eos=TokenName(key="eos_token_id"),
    ),
    read_offset=-1,
)
