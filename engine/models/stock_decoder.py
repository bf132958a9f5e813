"""What a config.json says of a decoder where it names its settings as transformers does.

For families whose published code is a stock decoder made bidirectional: their config holds the
stock class's own settings, written by any version of transformers.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from .family import CheckpointError, refuse_unless, required

SIZES = (
    "vocab_size",
    "hidden_size",
    "intermediate_size",
    "num_hidden_layers",
    "num_attention_heads",
    "max_position_embeddings",
)

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

STRETCH = (
    "factor",
    "low_freq_factor",
    "high_freq_factor",
    "original_max_position_embeddings",
)
"""What "llama3" rotations are stretched by."""

HARMLESS = frozenset({"max_window_layers", "pretraining_tp"})
"""Settings that change nothing where no window is used."""


def decoder_arguments(
    config: Mapping[str, Any], *, tied: bool = False, block_keys: tuple[str, ...] = ()
) -> dict[str, Any]:
    """Arguments that the configs of all stock decoders take; `tied` is what an absent
    tie_word_embeddings means, and `block_keys` are settings of a family's blocks, which it reads
    itself.

    Raises CheckpointError on a value that a bidirectional stock decoder does not cover.
    """
    covered = {key: values for key, values in FULL_ATTENTION.items() if key not in block_keys}
    refuse_unless(config, covered)
    _refuse_windows(config)
    sizes = {name: positive(config, name) for name in SIZES}
    heads = sizes["num_attention_heads"]
    key_value_heads = heads
    if config.get("num_key_value_heads") is not None:
        key_value_heads = positive(config, "num_key_value_heads")
    if heads % key_value_heads:
        raise CheckpointError(
            f"config.json: num_attention_heads {heads} is not a multiple of num_key_value_heads "
            f"{key_value_heads}"
        )
    if config.get("tie_word_embeddings") is not None:
        tied = required(config, "tie_word_embeddings", bool)

    return {
        **sizes,
        "num_key_value_heads": key_value_heads,
        "rms_norm_eps": float(required(config, "rms_norm_eps", float)),
        "tie_word_embeddings": tied,
        "hidden_act": "silu",
        "pad_token_id": None,
        "bos_token_id": None,
        "eos_token_id": None,
    }


def positive(config: Mapping[str, Any], field: str) -> int:
    """The value of a field that must be a number of things; raises CheckpointError."""
    value = required(config, field)
    if value < 1:
        raise CheckpointError(f"config.json: {field} is {value}, expected 1 or more")
    return int(value)


def switch(config: Mapping[str, Any], field: str) -> bool:
    """A setting that is on or off, off where it is absent; raises CheckpointError."""
    if config.get(field) is None:
        return False
    return bool(required(config, field, bool))


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
    width = positive(config, "hidden_size")
    heads = positive(config, "num_attention_heads")
    if width % heads:
        raise CheckpointError(
            f"config.json: hidden_size {width} is not a multiple of num_attention_heads {heads}"
        )
    size = width // heads
    refuse_unless(config, {"head_dim": (size, None)})
    return rotatable(size)


def head_size(config: Mapping[str, Any], *, absent: int | None = None) -> int:
    """Features of a head by head_dim; where it is not there, `absent`, or what the network's width
    divided by the heads is. Raises CheckpointError."""
    if config.get("head_dim") is not None:
        return rotatable(positive(config, "head_dim"))
    return absent if absent is not None else even_head_size(config)


def rotatable(size: int) -> int:
    """`size`, of which one half is rotated against the other; raises CheckpointError where there
    are no halves."""
    if size % 2:
        raise CheckpointError(f"config.json: a head has {size} features, expected an even number")
    return size


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
    stretch: dict[str, Any] = {}
    if kind == "llama3":
        stretch = {name: required(settings, name, float) for name in STRETCH}
    return {"rope_type": kind, "rope_theta": float(theta), **stretch}


def _mapping(field: str, value: Any) -> Mapping[str, Any]:
    if value is None:
        return {}
    if not isinstance(value, Mapping):
        raise CheckpointError(f"config.json: {field} must be an object, got {value!r}")
    return value
