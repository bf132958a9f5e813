"""SDAR and TraDo, autoregressive Qwen3 models continued as block diffusion models, as a stock Qwen3
that attends block by block.

The published class has Qwen3's tensors and settings; the mask of blocks alone is its own.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from .family import Blocks, Family, TokenName, TokenNames, required
from .stock_decoder import HARMLESS, decoder_arguments, head_size, rope_parameters

LENGTH_KEYS = ("block_size", "block_length")
QWEN3_HEAD_SIZE = 128
"""Features of a head where config.json does not say."""


def stock_config(config: Mapping[str, Any]) -> dict[str, Any]:
    """Arguments of Qwen3Config; raises CheckpointError on a value it does not cover."""
    return {
        **decoder_arguments(config, block_keys=LENGTH_KEYS),
        "rope_parameters": rope_parameters(config),
        "head_dim": head_size(config, absent=QWEN3_HEAD_SIZE),
        "attention_bias": False,
    }


def n_candidates(config: Mapping[str, Any]) -> int:
    """Every row of the head may be sampled, as in the published sampler."""
    return int(required(config, "vocab_size"))


SDAR = Family(
    stock_class="Qwen3ForCausalLM",
    stock_config=stock_config,
    renames={},
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
    harmless=HARMLESS | frozenset({"sliding_window", "attention_bias"}),
)
