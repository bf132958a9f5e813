"""Which keys of a config.json a family looked at, and which nobody did.

A key that a family passes over may be one of its checkpoint's own inventions that changes the
network. Refusing every such key would refuse checkpoints for a note in their config; so the user is
told instead, unless the key is known to change nothing.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from typing import Any

from .family import CheckpointError

HARMLESS = frozenset(
    {
        # names and versions
        "_commit_hash",
        "_name_or_path",
        "architectures",
        "auto_map",
        "model_type",
        "tokenizer_class",
        "transformers_version",
        # how weights and activations are kept, which is the user's choice here
        "_attn_implementation",
        "_attn_implementation_autoset",
        "attn_implementation",
        "dtype",
        "torch_dtype",
        "use_cache",
        # training alone
        "attention_dropout",
        "gradient_checkpointing",
        "initializer_range",
        # the form of what a forward call gives
        "chunk_size_feed_forward",
        "is_decoder",
        "is_encoder_decoder",
        "output_attentions",
        "output_hidden_states",
        "return_dict",
        "use_return_dict",
        # heads for tasks that are none of ours
        "id2label",
        "label2id",
        "problem_type",
        # tokens and lengths, for samplers that are none of ours
        "bos_token_id",
        "eos_token_id",
        "max_length",
        "min_length",
        "pad_token_id",
        "temperature",
        "top_k",
        "top_p",
    }
)
"""Keys that transformers writes into a config of any architecture, none of which changes what a
network computes."""


class AskedConfig(Mapping[str, Any]):
    """A config.json that remembers which of its keys were asked for."""

    def __init__(self, content: Mapping[str, Any]) -> None:
        self._content = content
        self._asked: set[str] = set()

    def __getitem__(self, key: str) -> Any:
        self._asked.add(key)
        return self._content[key]

    def __contains__(self, key: object) -> bool:
        self._asked.add(str(key))
        return key in self._content

    def __iter__(self) -> Iterator[str]:
        return iter(self._content)

    def __len__(self) -> int:
        return len(self._content)

    def passed_over(self, harmless: Collection[str]) -> list[str]:
        """The keys that nobody asked for, that say something, and that are not `harmless`."""
        keys = []
        for key, value in self._content.items():
            says_nothing = value is None or value is False or value in ("", [], {})
            if not (says_nothing or key in self._asked or key in HARMLESS or key in harmless):
                keys.append(key)
        return sorted(keys)


def refuse_quantised(config: Mapping[str, Any]) -> None:
    """Raise CheckpointError where config.json says that the weights are quantised."""
    quantisation = config.get("quantization_config")
    if quantisation:
        method = "quantised weights"
        if isinstance(quantisation, Mapping) and "quant_method" in quantisation:
            method = f"weights quantised by {quantisation['quant_method']!r}"
        raise CheckpointError(
            f"config.json: quantization_config says {method}, which are not read; use the "
            "checkpoint in bfloat16 or float32"
        )
