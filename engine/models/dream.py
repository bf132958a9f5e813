"""Dream-7B, Dream-Coder, DiffuCoder and every checkpoint in their format, as a bidirectional stock
Qwen2 whose predictions stand one position before their token.

The published network has the stock class's tensors under the stock class's names, and was proved
bit-equal to it in float32 and in bfloat16.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from .family import Family, TokenName, TokenNames, refuse_unless, required
from .stock_decoder import HARMLESS, decoder_arguments, even_head_size, rope_parameters

COVERED: dict[str, tuple[Any, ...]] = {"use_mrope": (False, None)}

CHAT_TEMPLATE = """\
{% if messages[0]['role'] != 'system' %}
<|im_start|>system
You are a helpful assistant.<|im_end|>
{% endif %}
{% for message in messages %}
<|im_start|>{{ message['role'] }}
{{ message['content'] }}<|im_end|>
{% endfor %}
{% if add_generation_prompt %}
<|im_start|>assistant
{% endif %}
"""
"""Qwen2's form of a conversation, in which the instruct models were trained."""


def stock_config(config: Mapping[str, Any]) -> dict[str, Any]:
    """Arguments of Qwen2Config for Dream's config.json; raises CheckpointError on a value it does
    not cover."""
    refuse_unless(config, COVERED)
    even_head_size(config)
    return {**decoder_arguments(config), "rope_parameters": rope_parameters(config)}


def n_candidates(config: Mapping[str, Any]) -> int:
    """Every row of the head may be sampled, as in the published sampler."""
    return int(required(config, "vocab_size"))


DREAM = Family(
    stock_class="Qwen2ForCausalLM",
    stock_config=stock_config,
    renames={},
    n_candidates=n_candidates,
    tokens=TokenNames(
        mask=TokenName(key="mask_token_id", text="<|mask|>", key_optional=True),
        eos=TokenName(key="eos_token_id", text="<|endoftext|>", key_optional=True),
        eot=TokenName(text="<|im_end|>", optional=True),
        pad=TokenName(key="pad_token_id", optional=True),
    ),
    read_offset=-1,
    policy="dream",
    chat_template=CHAT_TEMPLATE,
    byte_pair_tokenizer="Qwen2Tokenizer",
    harmless=HARMLESS | {"attention_bias", "sliding_window"},
)
