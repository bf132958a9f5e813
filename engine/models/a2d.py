"""A2D, autoregressive models continued as masked diffusion models, as the stock class they come
from, made bidirectional.

The published classes add no tensor to their stock class and replace the attention mask alone. They
serve two kinds of checkpoint whose config.json is the same: masked diffusion (mdlm), which attends
fully and is what runs here, and block diffusion (bd3lm), which does not. Nothing but its names says
which kind a checkpoint is.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from .family import CheckpointError, Family, TokenName, TokenNames, required
from .stock_decoder import HARMLESS, decoder_arguments, even_head_size, head_size, rope_parameters

BLOCK_DIFFUSION = re.compile(r"bd3lm|block[-_ ]?diffusion", re.IGNORECASE)
"""What block diffusion is called in the names of checkpoints."""

QWEN3_HEAD_SIZE = 128
"""Features of a head where a Qwen3's config.json does not say."""


def qwen3_config(config: Mapping[str, Any]) -> dict[str, Any]:
    """Arguments of Qwen3Config; raises CheckpointError on a value it does not cover."""
    return {
        **decoder_arguments(config),
        "rope_parameters": rope_parameters(config),
        "head_dim": head_size(config, absent=QWEN3_HEAD_SIZE),
        "attention_bias": _switch(config, "attention_bias"),
    }


def qwen2_config(config: Mapping[str, Any]) -> dict[str, Any]:
    """Arguments of Qwen2Config; raises CheckpointError on a value it does not cover."""
    even_head_size(config)
    return {**decoder_arguments(config), "rope_parameters": rope_parameters(config)}


def llama_config(config: Mapping[str, Any]) -> dict[str, Any]:
    """Arguments of LlamaConfig; raises CheckpointError on a value it does not cover."""
    arguments = decoder_arguments(config)
    arguments["rope_parameters"] = rope_parameters(config, kinds=("default", "llama3"))
    arguments["head_dim"] = head_size(config)
    for name in ("attention_bias", "mlp_bias"):
        arguments[name] = _switch(config, name)
    return arguments


def n_candidates(config: Mapping[str, Any]) -> int:
    """Every row of the head may be sampled, as in the published sampler."""
    return int(required(config, "vocab_size"))


def refuse_block_diffusion(directory: Path, config: Mapping[str, Any]) -> None:
    """Raise CheckpointError where a checkpoint calls itself block diffusion: in the name of its
    directory, in the name that config.json kept, or in the heading of its README.md."""
    names = {
        f"the directory is called {directory.resolve().name}": directory.resolve().name,
        f"config.json: _name_or_path is {config.get('_name_or_path')!r}": str(
            config.get("_name_or_path", "")
        ),
        f"README.md is headed {_heading(directory)!r}": _heading(directory),
    }
    for where, name in names.items():
        if BLOCK_DIFFUSION.search(name):
            raise CheckpointError(
                f"{directory}: {where}, and block diffusion (bd3lm) attends block by block, which "
                "is not run yet; use a masked diffusion (mdlm) checkpoint, or rename it if it is "
                "one"
            )


def _heading(directory: Path) -> str:
    """The first heading of README.md, or nothing."""
    try:
        with (directory / "README.md").open(encoding="utf-8", errors="replace") as lines:
            for line in lines:
                if line.startswith("# "):
                    return line.removeprefix("# ").strip()[:200]
    except OSError:
        pass
    return ""


def _switch(config: Mapping[str, Any], name: str) -> bool:
    return bool(required(config, name, bool)) if config.get(name) is not None else False


def _family(
    stock_class: str,
    stock_config: Callable[[Mapping[str, Any]], dict[str, Any]],
    *,
    eot: str,
    harmless: frozenset[str] = frozenset(),
) -> Family:
    return Family(
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
        refuse=refuse_block_diffusion,
    )


A2D_QWEN3 = _family(
    "Qwen3ForCausalLM", qwen3_config, eot="<|im_end|>", harmless=frozenset({"sliding_window"})
)
A2D_QWEN2 = _family(
    "Qwen2ForCausalLM",
    qwen2_config,
    eot="<|im_end|>",
    harmless=frozenset({"attention_bias", "sliding_window"}),
)
A2D_LLAMA = _family("LlamaForCausalLM", llama_config, eot="<|eot_id|>")
