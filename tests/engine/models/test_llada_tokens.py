"""LLaDA's prompt has the published ids: the beginning of the example in its own generate.py, in a
tokenizer that has LLaDA's ids for the words of it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from diffengine.engine.models.family import TokenIds
from diffengine.engine.models.llada import LLADA
from diffengine.engine.models.tokens import load_tokenizer, special_tokens
from diffengine.engine.prompts.chat_template import render_chat
from diffengine.engine.runs.run import BUNDLED

SPECIAL = {
    "<|startoftext|>": 126080,
    "<|endoftext|>": 126081,
    "<|mdm_mask|>": 126336,
    "<|start_header_id|>": 126346,
    "<|end_header_id|>": 126347,
    "<|eot_id|>": 126348,
}
WORDS = {
    "user": 3840,
    "Lily": 86059,
    "\u0120can": 560,
    "\u0120run": 2001,
    "\u0120kilometers": 44137,
    "\u0120per": 854,
    "\u0120hour": 6984,
    "\u0120for": 352,
}
QUESTION = "Lily can run 12 kilometers per hour for 4 hours."
BEGINNING = [126080, 126346, 3840, 126347, 198, 198, 86059, 560, 2001, 220, 16, 17, 44137, 854]
BEGINNING += [6984, 352]


def byte_symbols() -> list[str]:
    plain = [*range(33, 127), *range(161, 173), *range(174, 256)]
    others = [byte for byte in range(256) if byte not in plain]
    return [chr(byte) for byte in plain] + [chr(256 + place) for place in range(len(others))]


def with_lladas_ids(tokenizer: dict[str, Any]) -> dict[str, Any]:
    """The tokenizer with another vocabulary: bytes, the words' beginnings, and the words."""
    ids = {symbol: place for place, symbol in enumerate(byte_symbols())}
    merges: list[list[str]] = []
    for word in WORDS:
        for end in range(2, len(word) + 1):
            if word[:end] not in ids:
                ids[word[:end]] = 50000 + len(merges)
                merges.append([word[: end - 1], word[end - 1]])
    tokenizer["model"] |= {"vocab": ids | WORDS | SPECIAL, "merges": merges}
    for token in tokenizer["added_tokens"]:
        token["id"] = SPECIAL[token["content"]]
    return tokenizer


@pytest.fixture
def tokenizer(tmp_path: Path) -> Any:
    whole = json.loads((BUNDLED / "tokenizer.json").read_text())
    (tmp_path / "tokenizer.json").write_text(json.dumps(with_lladas_ids(whole)))
    settings = (BUNDLED / "tokenizer_config.json").read_text()
    (tmp_path / "tokenizer_config.json").write_text(settings)
    return load_tokenizer(tmp_path, LLADA)


def test_the_prompt_begins_with_the_published_ids(tokenizer: Any, tmp_path: Path) -> None:
    text = render_chat(tokenizer, [{"role": "user", "content": QUESTION}])
    ids = tokenizer.encode(text, add_special_tokens=False)
    assert ids[: len(BEGINNING)] == BEGINNING
    ending = ["<|eot_id|>", "<|start_header_id|>", "assistant", "<|end_header_id|>", "\n\n"]
    assert tokenizer.decode(ids).endswith("".join(ending))
    config = {"mask_token_id": 126336, "eos_token_id": 126081, "pad_token_id": 126081}
    found = special_tokens(LLADA.tokens, config, tokenizer, tmp_path)
    assert found == TokenIds(126336, 126081, 126348)
