"""ModernBERT fine-tuned as a diffusion model (ModernBERT-base-chat, ModernBERT-large-chat), in the
stock class that it was trained in.

Layers see the whole row or a window of it, each kind with a rotation of its own. Values of
config.json that the stock class reads are passed on under their names, old (global_rope_theta,
local_rope_theta, global_attn_every_n_layers) and new (rope_parameters, layer_types).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from .encoder import Encoder, EncoderForward
from .family import CheckpointError, Family, TokenName, TokenNames, refuse_unless, required

COVERED: dict[str, tuple[Any, ...]] = {
    "hidden_activation": ("gelu",),
    "classifier_activation": ("gelu",),
    "position_embedding_type": ("absolute", None),
    "rope_scaling": (None,),
}
"""`position_embedding_type` is a remnant that no code reads: positions are rotations."""

HARMLESS = frozenset(
    {
        # training, and how the weights begin
        "embedding_dropout",
        "mlp_dropout",
        "initializer_cutoff_factor",
        "sparse_prediction",
        "sparse_pred_ignore_index",
        # heads for tasks that are none of ours
        "classifier_dropout",
        "classifier_pooling",
        # tokens, an older name of norm_eps, and how attention is computed
        "cls_token_id",
        "sep_token_id",
        "layer_norm_eps",
        "deterministic_flash_attn",
        "reference_compile",
        "repad_logits_with_grad",
    }
)

BIASES = ("attention_bias", "mlp_bias", "norm_bias", "classifier_bias")
"""Which of the layers have a bias; without the key none."""

KINDS = {"full_attention": "global_rope_theta", "sliding_attention": "local_rope_theta"}
"""Kinds of layers, and where older configs have the base of their rotation."""

CHAT_TEMPLATE = (
    "{% for message in messages %}"
    "{% set name = {'system': 'SYS', 'user': 'Question'}.get(message['role'], 'Answer') %}"
    "{{ '[' + name + ']\n' + message['content'] | trim + '\n[/' + name + ']\n\n' }}"
    "{% endfor %}"
    "{% if add_generation_prompt and messages[-1]['role'] != 'assistant' %}"
    "{{ '[Answer]\n' }}"
    "{% endif %}"
)


def stock_config(config: Mapping[str, Any]) -> dict[str, Any]:
    """Arguments of ModernBertConfig; raises CheckpointError on a value that is not covered."""
    refuse_unless(config, COVERED)
    width = required(config, "hidden_size")
    heads = required(config, "num_attention_heads")
    if heads < 1 or width % heads:
        raise CheckpointError(
            f"config.json: hidden_size {width} is not a multiple of num_attention_heads {heads}"
        )

    biases = {name: bool(config.get(name, False)) for name in BIASES}
    return biases | {
        "vocab_size": required(config, "vocab_size"),
        "hidden_size": width,
        "intermediate_size": required(config, "intermediate_size"),
        "num_hidden_layers": required(config, "num_hidden_layers"),
        "num_attention_heads": heads,
        "max_position_embeddings": required(config, "max_position_embeddings"),
        "norm_eps": float(required(config, "norm_eps", float)),
        "local_attention": required(config, "local_attention"),
        "layer_types": layer_types(config),
        "rope_parameters": rotations(config),
        "decoder_bias": bool(config.get("decoder_bias", True)),
        "tie_word_embeddings": bool(config.get("tie_word_embeddings", True)),
        "hidden_activation": "gelu",
        "classifier_activation": "gelu",
        "pad_token_id": None,
        "bos_token_id": None,
        "eos_token_id": None,
        "cls_token_id": None,
        "sep_token_id": None,
    }


def layer_types(config: Mapping[str, Any]) -> list[str]:
    """The kind of each layer: as it is said, or every n-th sees the whole row, from the first on.
    Raises CheckpointError."""
    layers = required(config, "num_hidden_layers")
    kinds = config.get("layer_types")
    if kinds is not None:
        if not isinstance(kinds, list) or len(kinds) != layers or not set(kinds) <= set(KINDS):
            raise CheckpointError(
                f"config.json: layer_types must have {' or '.join(KINDS)} for each of {layers} "
                f"layers, got {kinds!r}"
            )
        return kinds
    every = required(config, "global_attn_every_n_layers")
    if every < 1:
        raise CheckpointError(
            f"config.json: global_attn_every_n_layers must be 1 or more, got {every}"
        )
    return ["sliding_attention" if layer % every else "full_attention" for layer in range(layers)]


def rotations(config: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    """The rotation of each kind of layer; raises CheckpointError on any but the plain one."""
    said = config.get("rope_parameters")
    result = {}
    for kind, key in KINDS.items():
        if said is None:
            base = required(config, key, float)
        else:
            base = _base_of(said, kind)
        result[kind] = {"rope_type": "default", "rope_theta": float(base)}
    return result


def _base_of(said: Any, kind: str) -> float:
    parameters = said.get(kind) if isinstance(said, Mapping) else None
    if not isinstance(parameters, Mapping):
        raise CheckpointError(
            f"config.json: rope_parameters must say {' and '.join(KINDS)}, got {said!r}"
        )
    if parameters.keys() - {"rope_theta", "rope_type"} or (
        parameters.get("rope_type", "default") != "default"
    ):
        raise CheckpointError(
            f"config.json: rope_parameters of {kind} are {dict(parameters)!r}, but this family is "
            "supported with the plain rotation only"
        )
    return float(required(parameters, "rope_theta", float))


def n_candidates(config: Mapping[str, Any]) -> int:
    """How many ids the published sampler chooses from: all rows of the head."""
    return int(required(config, "vocab_size"))


MODERN_BERT = Family(
    stock_class="ModernBertForMaskedLM",
    stock_config=stock_config,
    renames={},
    tied=("decoder.weight",),
    adapted=Encoder,
    forward=EncoderForward,
    n_candidates=n_candidates,
    tokens=TokenNames(
        mask=TokenName(text="[MASK]"),
        # the published sampler and trainer fill up behind the answer with padding
        eos=TokenName(key="pad_token_id", text="[PAD]"),
    ),
    chat_template=CHAT_TEMPLATE,
    harmless=HARMLESS,
)
