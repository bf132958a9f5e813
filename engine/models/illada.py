"""iLLaDA-8B, a masked diffusion model trained from scratch, as a bidirectional stock Llama.

The published network (modeling_illada.py) has the stock class's tensors under its names: RMSNorm,
rotations in the network's dtype, grouped keys and values, a head tied to the embedding. Its mask
token stands in the tokenizer, not in config.json; its authors give the id.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from .family import Family, TokenName, TokenNames, refuse_unless, required
from .stock_decoder import HARMLESS, decoder_arguments, even_head_size, rope_parameters

COVERED: dict[str, tuple[Any, ...]] = {
    # instead of the RMSNorm of rms_norm_eps, a LayerNorm
    "layer_norm_eps": (None,),
}

MASK = 5


def stock_config(config: Mapping[str, Any]) -> dict[str, Any]:
    """Arguments of LlamaConfig for iLLaDA's config.json; raises CheckpointError on a value it does
    not cover."""
    refuse_unless(config, COVERED)
    even_head_size(config)
    biases = {name: bool(config.get(name)) for name in ("attention_bias", "mlp_bias")}
    # transformers 4, which the checkpoints were written with, leaves a true value out
    arguments = decoder_arguments(config, tied=True)
    return {**arguments, **biases, "rope_parameters": rope_parameters(config)}


def n_candidates(config: Mapping[str, Any]) -> int:
    """Every row of the head may be sampled, as in the published sampler."""
    return int(required(config, "vocab_size"))


ILLADA = Family(
    stock_class="LlamaForCausalLM",
    stock_config=stock_config,
    renames={},
    n_candidates=n_candidates,
    tokens=TokenNames(
        mask=TokenName(key="mask_token_id", text="<[MASK]>", key_optional=True, published=MASK),
        eos=TokenName(key="eos_token_id"),
        eot=TokenName(text="<|eot_id|>", optional=True),
        pad=TokenName(key="pad_token_id", optional=True),
    ),
    harmless=HARMLESS | {"resid_pdrop"},
)
