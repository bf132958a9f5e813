"""A2D, autoregressive models continued as diffusion models, as the stock class they come from.

The published classes add no tensor to their stock class and replace the attention mask alone. They
serve two kinds of checkpoint: masked diffusion (mdlm), which attends fully, and block diffusion
(bd3lm), which attends block by block. Their config.json is the same, so that the names of a
checkpoint say of which kind it is. OPDLM's checkpoints are block diffusion with a sampler of their
own.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

from .checkpoint import read_json
from .family import Blocks, CheckpointError, Family, TokenName, TokenNames, required
from .names import names_of
from .stock_decoder import (
    HARMLESS,
    decoder_arguments,
    even_head_size,
    head_size,
    rope_parameters,
    switch,
)

MASKED = re.compile(r"mdlm|masked[-_ ]?diffusion", re.IGNORECASE)
"""What masked diffusion is called in the names of checkpoints."""

BLOCK_DIFFUSION = re.compile(r"bd3lm|block[-_ ]?diffusion", re.IGNORECASE)
"""What block diffusion is called there."""

OPDLM_NAME = re.compile(r"(?<![a-z])opdlm(?![a-z])", re.IGNORECASE)

LENGTH_KEYS = ("block_size", "block_length", "bd_size")
"""Settings of config.json that a checkpoint which attends fully does not have."""

SAMPLER_KEYS = ("steps_per_block", "denoising_steps")
"""Settings of generation_config.json that samplers of block diffusion alone have. A length of
blocks is none of them: the sampler of masked diffusion has one too."""

QWEN3_HEAD_SIZE = 128
"""Features of a head where a Qwen3's config.json does not say."""

OPDLM_MASK = 151669
"""What the published sampler of OPDLM takes (bd3lm_rl_rollout.py); the tokenizer of Qwen3 that its
checkpoints may bring has no mask."""

StockConfig = Callable[..., dict[str, Any]]


def qwen3_config(config: Mapping[str, Any], *, block_keys: tuple[str, ...] = ()) -> dict[str, Any]:
    """Arguments of Qwen3Config; raises CheckpointError on a value it does not cover."""
    return {
        **decoder_arguments(config, block_keys=block_keys),
        "rope_parameters": rope_parameters(config),
        "head_dim": head_size(config, absent=QWEN3_HEAD_SIZE),
        "attention_bias": switch(config, "attention_bias"),
    }


def qwen2_config(config: Mapping[str, Any], *, block_keys: tuple[str, ...] = ()) -> dict[str, Any]:
    """Arguments of Qwen2Config; raises CheckpointError on a value it does not cover."""
    even_head_size(config)
    return {
        **decoder_arguments(config, block_keys=block_keys),
        "rope_parameters": rope_parameters(config),
    }


def llama_config(config: Mapping[str, Any], *, block_keys: tuple[str, ...] = ()) -> dict[str, Any]:
    """Arguments of LlamaConfig; raises CheckpointError on a value it does not cover."""
    arguments = decoder_arguments(config, block_keys=block_keys)
    arguments["rope_parameters"] = rope_parameters(config, kinds=("default", "llama3"))
    arguments["head_dim"] = head_size(config)
    for name in ("attention_bias", "mlp_bias"):
        arguments[name] = switch(config, name)
    return arguments


def n_candidates(config: Mapping[str, Any]) -> int:
    """Every row of the head may be sampled, as in the published sampler."""
    return int(required(config, "vocab_size"))


class Kinds(NamedTuple):
    """The families of one architecture: what its checkpoints are where nothing says otherwise, and
    those that attend block by block."""

    masked: Family
    blocks: Family
    opdlm: Family | None = None

    def of(self, directory: Path, config: Mapping[str, Any]) -> Family:
        """The family of the checkpoint in this directory: by the nearest of its names that says
        one, and by settings that block diffusion alone has. Raises CheckpointError where the two
        contradict each other."""
        setting = _block_setting(directory, config)
        for where, name in names_of(directory, config).items():
            family = self._named(name)
            if family is self.masked and setting:
                raise CheckpointError(
                    f"{directory}: {where}, which is masked diffusion, but {setting}, which is "
                    "block diffusion; rename the directory or remove the setting, whichever is "
                    "wrong"
                )
            if family is not None:
                return family
        return self.blocks if setting else self.masked

    def _named(self, name: str) -> Family | None:
        if self.opdlm is not None and OPDLM_NAME.search(name):
            return self.opdlm
        if BLOCK_DIFFUSION.search(name):
            return self.blocks
        return self.masked if MASKED.search(name) else None


def _block_setting(directory: Path, config: Mapping[str, Any]) -> str | None:
    """A setting that says that a checkpoint attends block by block, and where it stands."""
    generation = directory / "generation_config.json"
    sampler = read_json(generation) if generation.is_file() else {}
    places = (("config.json", LENGTH_KEYS, config), (generation.name, SAMPLER_KEYS, sampler))
    for file, keys, content in places:
        for key in keys:
            if content.get(key) is not None:
                return f"{file}: {key} is {content[key]!r}"
    return None


def _kinds(
    stock_class: str,
    stock_config: StockConfig,
    *,
    eot: str,
    harmless: frozenset[str] = frozenset(),
) -> Kinds:
    masked = Family(
        stock_class=stock_class,
        stock_config=stock_config,
        renames={},
        n_candidates=n_candidates,
        tokens=TokenNames(
            mask=TokenName(key="mask_token_id", text="<|mask|>", key_optional=True),
            eos=TokenName(key="eos_token_id"),
            eot=TokenName(text=eot, optional=True),
            pad=TokenName(key="pad_token_id", optional=True),
        ),
        # The published sampler's tokenizer tells Qwen3's template so: an answer begins behind an
        # empty thought.
        template_variables={"enable_thinking": False},
        byte_pair_tokenizer="Qwen2Tokenizer" if stock_class.startswith("Qwen") else None,
        harmless=HARMLESS | harmless,
    )

    def config_of_blocks(config: Mapping[str, Any]) -> dict[str, Any]:
        return stock_config(config, block_keys=LENGTH_KEYS)

    blocks = replace(
        masked,
        stock_config=config_of_blocks,
        attention="blocks",
        blocks=Blocks(length=32, keys=LENGTH_KEYS, from_prompt_end=True, whole_last=False),
        policy="bd3lm",
    )
    return Kinds(masked, blocks)


QWEN3 = _kinds(
    "Qwen3ForCausalLM", qwen3_config, eot="<|im_end|>", harmless=frozenset({"sliding_window"})
)
QWEN2 = _kinds(
    "Qwen2ForCausalLM",
    qwen2_config,
    eot="<|im_end|>",
    harmless=frozenset({"attention_bias", "sliding_window"}),
)
LLAMA = _kinds("LlamaForCausalLM", llama_config, eot="<|eot_id|>")

OPDLM = replace(
    QWEN3.blocks,
    tokens=replace(
        QWEN3.blocks.tokens, mask=replace(QWEN3.blocks.tokens.mask, fallback=OPDLM_MASK)
    ),
    # Its authors decode with SDAR's engine, which counts blocks from the prompt's first token.
    blocks=Blocks(length=4, keys=LENGTH_KEYS),
    policy="sdar",
)

A2D_QWEN3 = replace(QWEN3.masked, kind=QWEN3._replace(opdlm=OPDLM).of)
A2D_QWEN2 = replace(QWEN2.masked, kind=QWEN2.of)
A2D_LLAMA = replace(LLAMA.masked, kind=LLAMA.of)
