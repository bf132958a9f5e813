"""What a config.json says of a decoder where it names its settings as transformers does.

For families whose published code is a stock decoder made bidirectional: their config holds the
stock class's own settings, written by any version of transformers.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from .family import CheckpointError, refuse_unless, required

FULL_ATTENTION: dict[str, tuple[Any, ...]] = {
    "hidden_act": ("silu",),
    "use_sliding_window": (False, None),
    "is_causal": (False, None),
    "block_size": (None,),
    "block_length": (None,),
    "bd_size": (None,),
    "right_shift_logits": (False, None),
}
"""Settings with their values that a full-attention decoder may have."""

HARMLESS = frozenset({"max_window_layers", "pretraining_tp"})
"""Settings that change nothing where no window is used."""


def decoder_arguments(config: Mapping[str, Any], *, tied: bool = False) -> dict[str, Any]:
    """Arguments that the configs of all stock decoders take; `tied` is what an absent
    tie_word_embeddings means.

    Raises CheckpointError on a value that a bidirectional stock decoder does not cover.
    """
    refuse_unless(config, FULL_ATTENTION)
    _refuse_windows(config)
    heads = required(config, "num_attention_heads")
    if heads < 1:
        raise CheckpointError(f"config.json: num_attention_heads is {heads}, expected 1 or more")

    if config.get("tie_word_embeddings") is not None:
        tied = required(config, "tie_word_embeddings", bool)

    return {
        "vocab_size": required(config, "vocab_size"),
        "hidden_size": required(config, "hidden_size"),
        "intermediate_size": required(config, "intermediate_size"),
        "num_hidden_layers": required(config, "num_hidden_layers"),
        "num_attention_heads": heads,
        "num_key_value_heads": config.get("num_key_value_heads") or heads,
        "max_position_embeddings": required(config, "max_position_embeddings"),
        "rms_norm_eps": required(config, "rms_norm_eps", float),
        "tie_word_embeddings": tied,
        "hidden_act": "silu",
        "pad_token_id": None,
        "bos_token_id": None,
        "eos_token_id": None,
    }


def _refuse_windows(config: Mapping[str, Any]) -> None:
    kinds = config.get("layer_types") or []
    windowed = sorted({str(kind) for kind in kinds if kind != "full_attention"})
    if windowed:
        raise CheckpointError(
            f"config.json: layer_types has {', '.join(windowed)}, but this family is supported "
            "with full_attention only"
        )
    # Where the switch is there, it decides; Llama-like configs have none.
    if "use_sliding_window" not in config and config.get("sliding_window") is not None:
        raise CheckpointError(
            f"config.json: sliding_window is {config['sliding_window']!r}, but this family is "
            "supported without windows only"
        )


def even_head_size(config: Mapping[str, Any]) -> int:
    """Features of a head where it is the network's width divided by the heads; raises
    CheckpointError where it is not."""
    width = required(config, "hidden_size")
    heads = required(config, "num_attention_heads")
    if width % heads:
        raise CheckpointError(
            f"config.json: hidden_size {width} is not a multiple of num_attention_heads {heads}"
        )
    size = width // heads
    refuse_unless(config, {"head_dim": (size, None)})
    return int(size)


def rope_parameters(
    config: Mapping[str, Any], *, kinds: tuple[str, ...] = ("default",)
) -> dict[str, Any]:
    """The rotations, from rope_theta with rope_scaling (transformers 4) or from rope_parameters
    (transformers 5); raises CheckpointError where they are not of one of `kinds`."""
    said = config.get("rope_parameters")
    scaling = config.get("rope_scaling")
    field = "rope_scaling" if said is None else "rope_parameters"
    settings = dict(_mapping(field, scaling if said is None else said))

    kind = settings.pop("rope_type", None) or settings.pop("type", None) or "default"
    settings.pop("type", None)
    if kind not in kinds:
        raise CheckpointError(
            f"config.json: {field} has rope_type {kind!r}, but this family is supported with "
            f"{' or '.join(map(repr, kinds))} only"
        )
    if kind == "default":
        refuse_unless(settings, {"factor": (1, None), "partial_rotary_factor": (1, None)})

    theta = settings.pop("rope_theta", None)
    if theta is None:
        theta = required(config, "rope_theta", float)
    extra = {} if kind == "default" else settings
    return {"rope_type": kind, "rope_theta": float(theta), **extra}


def _mapping(field: str, value: Any) -> Mapping[str, Any]:
    if value is None:
        return {}
    if not isinstance(value, Mapping):
        raise CheckpointError(f"config.json: {field} must be an object, got {value!r}")
    return value
