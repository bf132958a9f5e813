"""Fast-dLLM v2, Qwen2.5 continued as a block diffusion model, as a stock Qwen2 that attends block
by block and whose predictions stand one position before their token.

The published class has Qwen2's tensors and settings (modeling.py); its own are the mask of blocks,
which are counted from the prompt's first token, and the shift.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from .family import Blocks, Family, TokenName, TokenNames, required
from .stock_decoder import HARMLESS, decoder_arguments, even_head_size, rope_parameters

LENGTH_KEYS = ("bd_size",)

MASK = 151665
"""What the published sampler takes where nothing else is said (generation_functions.py)."""

TRAINING = frozenset({"conplemenrary_mask"})
"""Settings of training alone, as they are spelled."""


def stock_config(config: Mapping[str, Any]) -> dict[str, Any]:
    """Arguments of Qwen2Config; raises CheckpointError on a value it does not cover."""
    even_head_size(config)
    return {
        **decoder_arguments(config, block_keys=LENGTH_KEYS),
        "rope_parameters": rope_parameters(config),
    }


def n_candidates(config: Mapping[str, Any]) -> int:
    """Every row of the head may be sampled, as in the published sampler."""
    return int(required(config, "vocab_size"))


FAST_DLLM_V2 = Family(
    stock_class="Qwen2ForCausalLM",
    stock_config=stock_config,
    renames={},
    n_candidates=n_candidates,
    tokens=TokenNames(
        mask=TokenName(key="mask_token_id", text="|<MASK>|", key_optional=True, fallback=MASK),
        eos=TokenName(key="eos_token_id"),
        eot=TokenName(text="<|im_end|>", optional=True),
        pad=TokenName(key="pad_token_id", optional=True),
    ),
    read_offset=-1,
    attention="blocks",
    blocks=Blocks(length=32, keys=LENGTH_KEYS),
    policy="fast_dllm_v2",
    byte_pair_tokenizer="Qwen2Tokenizer",
    harmless=HARMLESS | TRAINING | frozenset({"sliding_window"}),
)
