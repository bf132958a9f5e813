"""Nemotron-Labs-Diffusion, Ministral 3 models continued as block diffusion models, as a stock
Ministral3.

The published network (modeling_nemotron_labs_diffusion.py) has the stock class's layers under other
names. A prompt and full blocks are read causally, token by token, as in the autoregressive model;
the tokens of the open block see each other and all before them.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from .family import (
    Blocks,
    CheckpointError,
    Family,
    TokenName,
    TokenNames,
    refuse_unless,
    required,
)
from .stock_decoder import HARMLESS, decoder_arguments, head_size

COVERED: dict[str, tuple[Any, ...]] = {
    "attention_bias": (False, None),
    "mlp_bias": (False, None),
    # Which masks training used; either comes to the same weights and the same decoding, but
    # "autoregressive" has never been trained with masks.
    "dlm_paradigm": ("bidirectional", "block_diff", None),
    "rope_scaling": (None,),
}

OF_TRAINING = frozenset(
    {
        "adaptive_mask_rate",
        "ar_loss_weight",
        "dlm_loss_weight",
        "dp_varying_mask_ratio",
    }
)

LENGTH_KEYS = ("block_size", "block_length")

NEEDED = ("rope_theta", "factor", "original_max_position_embeddings", "llama_4_scaling_beta")
"""What the stretched rotations, and the scaling of queries at far positions, are made of."""

OPTIONAL = ("beta_fast", "beta_slow", "mscale", "mscale_all_dim", "attention_factor")
"""Settings of the stretch that may be absent."""


def stock_config(config: Mapping[str, Any]) -> dict[str, Any]:
    """Arguments of Ministral3Config; raises CheckpointError on a value it does not cover."""
    refuse_unless(config, COVERED)
    return {
        **decoder_arguments(config, block_keys=LENGTH_KEYS),
        "rope_parameters": rope_parameters(config),
        "head_dim": head_size(config),
        "sliding_window": None,
    }


def rope_parameters(config: Mapping[str, Any]) -> dict[str, Any]:
    """The rotations, stretched as in YaRN, with what scales queries by their position; raises
    CheckpointError."""
    said = dict(required(config, "rope_parameters", dict))
    kind = said.pop("rope_type", None) or said.pop("type", None)
    said.pop("type", None)
    said.pop("max_position_embeddings", None)  # config.json's own counts
    refuse_unless({"rope_parameters' rope_type": kind}, {"rope_parameters' rope_type": ("yarn",)})
    refuse_unless(said, {"truncate": (True, None), "partial_rotary_factor": (1, None)})
    settings = {name: required(said, name, float) for name in NEEDED}
    for name in OPTIONAL:
        if said.get(name) is not None:
            settings[name] = required(said, name, float)
    others = sorted(set(said) - {*NEEDED, *OPTIONAL, "truncate", "partial_rotary_factor"})
    if others:
        raise CheckpointError(
            f"config.json: rope_parameters has {', '.join(others)}, of which this family knows "
            "nothing; its rotations would not be those that were published"
        )
    return {"rope_type": "yarn", **settings}


def n_candidates(config: Mapping[str, Any]) -> int:
    """Every row of the head may be sampled, as in the published sampler."""
    return int(required(config, "vocab_size"))


NEMOTRON = Family(
    stock_class="Ministral3ForCausalLM",
    stock_config=stock_config,
    renames={r"^encoder\.": "model.", r"^diffusion_head\.": "lm_head."},
    n_candidates=n_candidates,
    tokens=TokenNames(
        mask=TokenName(key="mask_token_id"),
        eos=TokenName(key="eos_token_id"),
        eot=TokenName(text="<|im_end|>", optional=True),
        pad=TokenName(key="pad_token_id", optional=True),
    ),
    attention="blocks",
    blocks=Blocks(length=32, keys=LENGTH_KEYS, from_prompt_end=True, causal_context=True),
    policy="nemotron",
    harmless=HARMLESS | OF_TRAINING,
)
