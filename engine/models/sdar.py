"""SDAR and TraDo, autoregressive Qwen3 models continued as block diffusion models, as a stock Qwen3
that attends block by block; SDAR's mixtures of experts, as a stock Qwen3-MoE that does.

The published classes have the stock classes' tensors and settings; the mask of blocks alone is
their own. Others took the class and its name for models that attend causally; they are told apart
and refused.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from .experts import QWEN3_MOE
from .family import Blocks, CheckpointError, Family, Stacked, TokenName, TokenNames, required
from .names import names_of
from .stock_decoder import (
    HARMLESS,
    decoder_arguments,
    head_size,
    positive,
    rope_parameters,
    switch,
)

LENGTH_KEYS = ("block_size", "block_length")

QWEN3_HEAD_SIZE = 128
"""Features of a head where config.json does not say."""

TRAINING = frozenset(
    {
        "debug",
        "ep_size",
        "fuse_cross_entropy",
        "micro_forward",
        "output_router_logits",
        "router_aux_loss_coef",
        "skip_checkpoint",
        "use_deepep",
    }
)
"""Settings of training alone."""

CAUSAL = re.compile(
    r"(?<![a-z])i-?dlm(?![a-z])|introspective|(?<![a-z])uno-qwen", flags=re.IGNORECASE
)
"""Names of checkpoints that are causal under SDAR's name: I-DLM (Yu et al. 2026, arXiv 2604.11035),
and the verifier of Uno, which goes without the key."""

CAUSAL_KEY = "use_regular_causal"
"""What I-DLM's config.json says of itself."""


def dense_config(config: Mapping[str, Any]) -> dict[str, Any]:
    """Arguments of Qwen3Config; raises CheckpointError on a value it does not cover."""
    return {
        **decoder_arguments(config, block_keys=LENGTH_KEYS),
        "rope_parameters": rope_parameters(config),
        "head_dim": head_size(config, absent=QWEN3_HEAD_SIZE),
        "attention_bias": switch(config, "attention_bias"),
    }


def mixture_config(config: Mapping[str, Any]) -> dict[str, Any]:
    """Arguments of Qwen3MoeConfig; raises CheckpointError on a value it does not cover."""
    experts = positive(config, "num_experts")
    chosen = positive(config, "num_experts_per_tok")
    if chosen > experts:
        raise CheckpointError(
            f"config.json: num_experts_per_tok is {chosen}, but num_experts is {experts}"
        )
    return {
        **dense_config(config),
        "num_experts": experts,
        "num_experts_per_tok": chosen,
        "moe_intermediate_size": positive(config, "moe_intermediate_size"),
        "norm_topk_prob": bool(required(config, "norm_topk_prob", bool)),
        "decoder_sparse_step": _sparse_step(config),
        "mlp_only_layers": _dense_layers(config),
    }


def _sparse_step(config: Mapping[str, Any]) -> int:
    if config.get("decoder_sparse_step") is None:
        return 1
    return positive(config, "decoder_sparse_step")


def _dense_layers(config: Mapping[str, Any]) -> list[int]:
    """Which layers have one MLP instead of experts."""
    layers = config.get("mlp_only_layers") or []
    count = positive(config, "num_hidden_layers")
    if not isinstance(layers, list) or not all(type(n) is int and 0 <= n < count for n in layers):
        raise CheckpointError(
            f"config.json: mlp_only_layers must list numbers of its {count} layers, from 0; got "
            f"{layers!r}"
        )
    return layers


def n_candidates(config: Mapping[str, Any]) -> int:
    """Every row of the head may be sampled, as in the published sampler."""
    return int(required(config, "vocab_size"))


def refuse_causal(directory: Path, config: Mapping[str, Any]) -> None:
    """Raise CheckpointError where config.json says that a checkpoint attends causally, or a name of
    its does."""
    said = f"config.json: {CAUSAL_KEY} is true" if config.get(CAUSAL_KEY) else None
    for where, name in names_of(directory, config).items():
        if said is None and CAUSAL.search(name):
            said = where
    if said is not None:
        raise CheckpointError(
            f"{directory}: {said}: this is a causal model under SDAR's name, as I-DLM and Uno "
            "are, whose tokens see nothing behind them and whose predictions stand one position "
            "before their token; its decoding is not here; use a checkpoint of SDAR or TraDo, or "
            "rename it if it is one"
        )


def _family(
    stock_class: str,
    stock_config: Callable[[Mapping[str, Any]], dict[str, Any]],
    *,
    stacked: tuple[Stacked, ...] = (),
) -> Family:
    return Family(
        stock_class=stock_class,
        stock_config=stock_config,
        renames={},
        stacked=stacked,
        n_candidates=n_candidates,
        tokens=TokenNames(
            mask=TokenName(key="mask_token_id", text="<|MASK|>", key_optional=True),
            eos=TokenName(key="eos_token_id"),
            eot=TokenName(text="<|im_end|>", optional=True),
            pad=TokenName(key="pad_token_id", optional=True),
        ),
        attention="blocks",
        blocks=Blocks(length=4, keys=LENGTH_KEYS),
        policy="sdar",
        byte_pair_tokenizer="Qwen2Tokenizer",
        harmless=HARMLESS | TRAINING | frozenset({"sliding_window"}),
        refuse=refuse_causal,
    )


SDAR = _family("Qwen3ForCausalLM", dense_config)
SDAR_MOE = _family("Qwen3MoeForCausalLM", mixture_config, stacked=QWEN3_MOE)
