"""Checkpoints of dense families, random and tiny, in the format that is published."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
import transformers

from diffengine.engine.runs.run import BUNDLED

sys.path.append(str(Path(__file__).parent))
from dense_configs import CONFIGS, draw, shapes_of, write_weights


@pytest.fixture
def dense(
    tmp_path: Path, byte_pairs: Callable[..., None], renamed_tokenizer: Callable[..., None]
) -> Callable[..., Path]:
    """`dense(family, **changes)` writes a checkpoint; `changes` go into config.json. Of A2D's
    kinds the name of the directory says which it is."""

    def write(family: str, name: str = "checkpoint", *, files: int = 2, **changes: Any) -> Path:
        base = family.removesuffix(" bd3lm")
        directory = tmp_path / (name if base == family else f"{name}-bd3lm")
        directory.mkdir(parents=True)
        config = CONFIGS[family] | changes
        (directory / "config.json").write_text(json.dumps(config))
        generator = torch.Generator().manual_seed(5)
        tensors = {}
        for tensor, shape in shapes_of(family, config).items():
            tensors[tensor] = draw(tensor, shape, generator)
        write_weights(directory, tensors, files=files)
        if base in ("A2D-Llama", "iLLaDA"):
            renamed_tokenizer(directory, base)
        else:
            byte_pairs(directory, base)
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
QWEN3_ADDED = f"{QWEN2_ADDED} tool_response /tool_response think /think"
ADDED = {
    "Dream": f"{QWEN2_ADDED} beginoftext mask",
    "A2D-Qwen2": f"{QWEN2_ADDED} mask",
    "A2D-Qwen3": f"{QWEN3_ADDED} mask",
    "OPDLM": f"{QWEN3_ADDED} mask",
    "SDAR": f"{QWEN3_ADDED} MASK",
    "Fast-dLLM v2": f"{QWEN2_ADDED} |<MASK>|",
}
"""Added tokens in the order of their ids, which follow each other from 151643."""

BARE = ("tool_call", "/tool_call", "tool_response", "/tool_response", "think", "/think")
"""Those that are written without bars."""

OF_QWEN2 = ("Dream", "A2D-Qwen2", "Fast-dLLM v2")
"""Families with Qwen2's template."""

BYTE_PAIRS_ALONE = ("Dream", "Fast-dLLM v2")
"""Families that are published without tokenizer.json."""

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
    names = ADDED[family].split()
    return {as_written(name): first + place for place, name in enumerate(names)}


def as_written(name: str) -> str:
    """The text of an added token."""
    if name in BARE:
        return f"<{name}>"
    return name if name.startswith("|") else f"<|{name}|>"


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
            decoder[str(token_id)] = {"content": text, "special": "|" in text, **flags}
        settings: dict[str, Any] = {
            "add_bos_token": False,
            "add_prefix_space": False,
            "added_tokens_decoder": decoder,
            "bos_token": None,
            "clean_up_tokenization_spaces": False,
            "eos_token": "<|endoftext|>",
            "errors": "replace",
            "mask_token": as_written(ADDED[family].split()[-1]),
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
            template = QWEN2_TEMPLATE if family in OF_QWEN2 else QWEN3_TEMPLATE
            (directory / "chat_template.jinja").write_text(template)
        (directory / "tokenizer_config.json").write_text(json.dumps(settings))
        if family not in BYTE_PAIRS_ALONE:
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
