"""Checkpoints of dense families, random and tiny, in the format that is published."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
import transformers
from safetensors.torch import save_file
from torch import Tensor

from diffengine.engine.runs.run import BUNDLED

SIZES: dict[str, Any] = {
    "hidden_size": 64,
    "intermediate_size": 96,
    "max_position_embeddings": 1024,
    "num_attention_heads": 4,
    "num_hidden_layers": 2,
    "num_key_value_heads": 2,
}

DREAM: dict[str, Any] = {
    "architectures": ["DreamModel"],
    "attention_dropout": 0.0,
    "auto_map": {
        "AutoConfig": "configuration_dream.DreamConfig",
        "AutoModel": "modeling_dream.DreamModel",
    },
    "bos_token_id": 300,
    "eos_token_id": 300,
    "hidden_act": "silu",
    "initializer_range": 0.02,
    "mask_token_id": 323,
    "max_window_layers": 28,
    "model_type": "Dream",
    "pad_token_id": 300,
    "rms_norm_eps": 1e-06,
    "rope_scaling": None,
    "rope_theta": 1000000.0,
    "sliding_window": None,
    "tie_word_embeddings": False,
    "torch_dtype": "bfloat16",
    "transformers_version": "4.46.2",
    "use_cache": True,
    "use_mrope": False,
    "use_sliding_window": False,
    "vocab_size": 336,
    **SIZES,
}

A2D_QWEN3: dict[str, Any] = {
    "architectures": ["A2DQwen3LMHeadModel"],
    "attention_bias": False,
    "attention_dropout": 0.0,
    "auto_map": {
        "AutoConfig": "modeling_qwen3.A2DQwen3Config",
        "AutoModel": "modeling_qwen3.A2DQwen3LMHeadModel",
        "AutoModelForMaskedLM": "modeling_qwen3.A2DQwen3LMHeadModel",
    },
    "bos_token_id": 300,
    "dtype": "bfloat16",
    "eos_token_id": 302,
    "head_dim": 24,
    "hidden_act": "silu",
    "initializer_range": 0.02,
    "layer_types": ["full_attention", "full_attention"],
    "max_window_layers": 28,
    "model_type": "a2d-qwen3",
    "pad_token_id": 300,
    "rms_norm_eps": 1e-06,
    "rope_scaling": None,
    "rope_theta": 1000000,
    "sliding_window": None,
    "tie_word_embeddings": True,
    "transformers_version": "4.57.0",
    "use_cache": True,
    "use_sliding_window": False,
    "vocab_size": 336,
    **SIZES,
}

A2D_QWEN2: dict[str, Any] = {
    **{key: value for key, value in A2D_QWEN3.items() if key not in ("attention_bias", "head_dim")},
    "architectures": ["A2DQwen2LMHeadModel"],
    "model_type": "a2d-qwen2",
}

A2D_LLAMA: dict[str, Any] = {
    "architectures": ["A2DLlamaLMHeadModel"],
    "attention_bias": False,
    "attention_dropout": 0.0,
    "bos_token_id": 0,
    "dtype": "bfloat16",
    "eos_token_id": [1, 4],
    "head_dim": 16,
    "hidden_act": "silu",
    "initializer_range": 0.02,
    "mlp_bias": False,
    "model_type": "a2d-llama",
    "pretraining_tp": 1,
    "rms_norm_eps": 1e-05,
    "rope_scaling": {
        "factor": 32.0,
        "high_freq_factor": 4.0,
        "low_freq_factor": 1.0,
        "original_max_position_embeddings": 64,
        "rope_type": "llama3",
    },
    "rope_theta": 500000.0,
    "tie_word_embeddings": True,
    "transformers_version": "4.57.0",
    "use_cache": True,
    "vocab_size": 560,
    **SIZES,
}

ILLADA: dict[str, Any] = {
    "architectures": ["ILLaDAForCausalLM"],
    "attention_bias": False,
    "attention_dropout": 0.0,
    "auto_map": {
        "AutoConfig": "configuration_illada.ILLaDAConfig",
        "AutoModel": "modeling_illada.ILLaDAForCausalLM",
        "AutoModelForCausalLM": "modeling_illada.ILLaDAForCausalLM",
    },
    "bos_token_id": 0,
    "dtype": "bfloat16",
    "eos_token_id": 2,
    "hidden_act": "silu",
    "initializer_range": 0.02,
    "layer_norm_eps": None,
    "mlp_bias": False,
    "model_type": "illada",
    "pad_token_id": 1,
    "resid_pdrop": 0.0,
    "rms_norm_eps": 1e-05,
    "rope_scaling": None,
    "rope_theta": 500000.0,
    "tie_word_embeddings": True,
    "transformers_version": "4.57.1",
    "vocab_size": 560,
    **SIZES,
}

CONFIGS = {
    "Dream": DREAM,
    "A2D-Qwen3": A2D_QWEN3,
    "A2D-Qwen2": A2D_QWEN2,
    "A2D-Llama": A2D_LLAMA,
    "iLLaDA": ILLADA,
}

BIASED = ("Dream", "A2D-Qwen2")
"""Families whose queries, keys and values have biases."""


def shapes_of(family: str, config: dict[str, Any]) -> dict[str, tuple[int, ...]]:
    """Every tensor of the published files."""
    width, rows = config["hidden_size"], config["vocab_size"]
    heads, key_heads = config["num_attention_heads"], config["num_key_value_heads"]
    size = config.get("head_dim", width // heads)
    inner = config["intermediate_size"]
    shapes = {"model.embed_tokens.weight": (rows, width), "model.norm.weight": (width,)}
    if not config["tie_word_embeddings"]:
        shapes["lm_head.weight"] = (rows, width)
    for layer in range(config["num_hidden_layers"]):
        block = {
            "input_layernorm.weight": (width,),
            "post_attention_layernorm.weight": (width,),
            "self_attn.q_proj.weight": (heads * size, width),
            "self_attn.k_proj.weight": (key_heads * size, width),
            "self_attn.v_proj.weight": (key_heads * size, width),
            "self_attn.o_proj.weight": (width, heads * size),
            "mlp.gate_proj.weight": (inner, width),
            "mlp.up_proj.weight": (inner, width),
            "mlp.down_proj.weight": (width, inner),
        }
        if family in BIASED:
            block["self_attn.q_proj.bias"] = (heads * size,)
            block["self_attn.k_proj.bias"] = (key_heads * size,)
            block["self_attn.v_proj.bias"] = (key_heads * size,)
        if family == "A2D-Qwen3":
            block["self_attn.q_norm.weight"] = (size,)
            block["self_attn.k_norm.weight"] = (size,)
        shapes |= {f"model.layers.{layer}.{name}": shape for name, shape in block.items()}
    return shapes


def draw(name: str, shape: tuple[int, ...], generator: torch.Generator) -> Tensor:
    noise = torch.randn(shape, generator=generator)
    if name.endswith("bias"):
        return 0.3 * noise
    if len(shape) == 1:
        return 1 + 0.3 * noise
    return noise * (3.0 if name.startswith("lm_head") else 1.0) / shape[1] ** 0.5


def write_weights(directory: Path, tensors: dict[str, Tensor], *, files: int) -> None:
    """The tensors in one file, or in several with their index."""
    if files == 1:
        save_file(tensors, directory / "model.safetensors", metadata={"format": "pt"})
        return
    names = sorted(tensors)
    weight_map = {}
    for number in range(files):
        file = f"model-{number + 1:05}-of-{files:05}.safetensors"
        part = {name: tensors[name] for name in names[number::files]}
        save_file(part, directory / file, metadata={"format": "pt"})
        weight_map |= dict.fromkeys(part, file)
    index = {"metadata": {}, "weight_map": weight_map}
    (directory / "model.safetensors.index.json").write_text(json.dumps(index))


@pytest.fixture
def dense(
    tmp_path: Path, byte_pairs: Callable[..., None], renamed_tokenizer: Callable[..., None]
) -> Callable[..., Path]:
    """`dense(family, **changes)` writes a checkpoint; `changes` go into config.json."""

    def write(family: str, name: str = "checkpoint", *, files: int = 2, **changes: Any) -> Path:
        directory = tmp_path / name
        directory.mkdir(parents=True)
        config = CONFIGS[family] | changes
        (directory / "config.json").write_text(json.dumps(config))
        generator = torch.Generator().manual_seed(5)
        tensors = {}
        for tensor, shape in shapes_of(family, config).items():
            tensors[tensor] = draw(tensor, shape, generator)
        write_weights(directory, tensors, files=files)
        if family in ("A2D-Llama", "iLLaDA"):
            renamed_tokenizer(directory, family)
        else:
            byte_pairs(directory, family)
        return directory

    return write


WORDS = {
    " assistant": 17847,
    " are": 525,
    " a": 264,
    " helpful": 10950,
    "assistant": 77091,
    "system": 8948,
    "user": 872,
    "You": 2610,
    "Hi": 13048,
    "\n\n": 271,
}
"""Words of a first prompt with the ids that Qwen's tokenizers give them."""

QWEN2_ADDED = (
    "endoftext im_start im_end object_ref_start object_ref_end box_start box_end quad_start "
    "quad_end vision_start vision_end vision_pad image_pad video_pad tool_call /tool_call "
    "fim_prefix fim_middle fim_suffix fim_pad repo_name file_sep"
)
ADDED = {
    "Dream": f"{QWEN2_ADDED} beginoftext mask",
    "A2D-Qwen2": f"{QWEN2_ADDED} mask",
    "A2D-Qwen3": f"{QWEN2_ADDED} tool_response /tool_response think /think mask",
}
"""Added tokens in the order of their ids, which follow each other from 151643."""

BARE = ("tool_call", "/tool_call", "tool_response", "/tool_response", "think", "/think")
"""Those that are written without bars."""

FIRST_ADDED = 151643

QWEN2_TEMPLATE = (
    "{% if messages[0]['role'] != 'system' %}"
    "{{ '<|im_start|>system\\nYou are a helpful assistant.<|im_end|>\\n' }}{% endif %}"
    "{% for message in messages %}{{ '<|im_start|>' + message['role'] + '\\n' }}"
    "{{ message['content'] + '<|im_end|>\\n' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\\n' }}{% endif %}"
)
QWEN3_TEMPLATE = (
    "{% for message in messages %}{{ '<|im_start|>' + message['role'] + '\\n' }}"
    "{{ message['content'] + '<|im_end|>\\n' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\\n' }}"
    "{% if enable_thinking is defined and not enable_thinking %}"
    "{{ '<think>\\n\\n</think>\\n\\n' }}{% endif %}{% endif %}"
)


def byte_symbols() -> list[str]:
    """The 256 bytes as GPT-2's vocabulary writes them, in its order; Qwen's has the same."""
    plain = [*range(33, 127), *range(161, 173), *range(174, 256)]
    others = [byte for byte in range(256) if byte not in plain]
    return [chr(byte) for byte in plain] + [chr(256 + place) for place in range(len(others))]


def vocabulary(*, size: int, published_ids: bool) -> tuple[dict[str, int], list[str]]:
    """`size` ids, of bytes, of what merges make of them and of words that no text has; and the
    merges."""
    first_merged = 60000 if published_ids else 256
    ids = {symbol: place for place, symbol in enumerate(byte_symbols())}
    merges: list[str] = []
    for word, published in WORDS.items():
        symbols = word.replace(" ", "\u0120").replace("\n", "\u010a")
        for end in range(2, len(symbols) + 1):
            whole = symbols[:end]
            if whole not in ids:
                ids[whole] = first_merged + len(merges)
                merges.append(f"{symbols[: end - 1]} {symbols[end - 1]}")
        if published_ids:
            ids[symbols] = published
    unused = set(range(size)) - set(ids.values())
    return ids | {f"unused {place}": place for place in sorted(unused)}, merges


def added_tokens(family: str, first: int) -> dict[str, int]:
    texts = [f"<{n}>" if n in BARE else f"<|{n}|>" for n in ADDED[family].split()]
    return {text: first + place for place, text in enumerate(texts)}


@pytest.fixture
def byte_pairs() -> Callable[..., None]:
    """Writes the tokenizer of a family that came from Qwen, with few ids or with the published
    ones."""

    def write(directory: Path, family: str, *, published_ids: bool = False) -> None:
        first_added = FIRST_ADDED if published_ids else 300
        ids, merges = vocabulary(size=first_added, published_ids=published_ids)
        added = added_tokens(family, first_added)
        (directory / "vocab.json").write_text(json.dumps(ids))
        (directory / "merges.txt").write_text("#version: 0.2\n" + "\n".join(merges) + "\n")
        (directory / "added_tokens.json").write_text(json.dumps(added))
        flags = dict.fromkeys(("lstrip", "normalized", "rstrip", "single_word"), False)
        decoder = {}
        for text, token_id in added.items():
            decoder[str(token_id)] = {"content": text, "special": text[1] == "|", **flags}
        settings: dict[str, Any] = {
            "add_bos_token": False,
            "add_prefix_space": False,
            "added_tokens_decoder": decoder,
            "bos_token": None,
            "clean_up_tokenization_spaces": False,
            "eos_token": "<|endoftext|>",
            "errors": "replace",
            "mask_token": "<|mask|>",
            "model_max_length": 131072,
            "pad_token": "<|endoftext|>",
            "tokenizer_class": "Qwen2Tokenizer",
            "unk_token": None,
        }
        if family == "Dream":
            settings |= {
                "auto_map": {"AutoTokenizer": ["tokenization_dream.DreamTokenizer", None]},
                "bos_token": "<|beginoftext|>",
                "chat_template": QWEN2_TEMPLATE,
                "tokenizer_class": "DreamTokenizer",
            }
        else:
            template = QWEN3_TEMPLATE if family == "A2D-Qwen3" else QWEN2_TEMPLATE
            (directory / "chat_template.jinja").write_text(template)
        (directory / "tokenizer_config.json").write_text(json.dumps(settings))
        if family != "Dream":
            whole = transformers.Qwen2Tokenizer.from_pretrained(directory)
            whole.backend_tokenizer.save(str(directory / "tokenizer.json"))

    return write


RENAMED = {
    "A2D-Llama": {"<|mdm_mask|>": "<|mask|>", "<|startoftext|>": "<|begin_of_text|>"},
    "iLLaDA": {"<|mdm_mask|>": "<[MASK]>", "<|endoftext|>": "<pad>"},
}


@pytest.fixture
def renamed_tokenizer() -> Callable[[Path, str], None]:
    """Writes the bundled tokenizer with the tokens called as the family calls them."""

    def write(directory: Path, family: str) -> None:
        for name in ("tokenizer.json", "tokenizer_config.json"):
            text = (BUNDLED / name).read_text()
            for ours, theirs in RENAMED[family].items():
                text = text.replace(ours, theirs)
            (directory / name).write_text(text)

    return write
