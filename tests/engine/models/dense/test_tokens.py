"""Tokens and prompts of the dense families: ids as published, files as published, and what does not
fit together refused."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from diffengine.engine.models.a2d import A2D_QWEN2, A2D_QWEN3, OPDLM
from diffengine.engine.models.dream import DREAM
from diffengine.engine.models.family import CheckpointError, Family, TokenIds
from diffengine.engine.models.fast_dllm_v2 import FAST_DLLM_V2
from diffengine.engine.models.loading import MaskedDiffusionModel, load_model
from diffengine.engine.models.sdar import SDAR
from diffengine.engine.models.tokens import load_tokenizer, special_tokens
from diffengine.engine.problems.read import Problem
from diffengine.engine.prompts.chat_template import render_chat
from diffengine.engine.prompts.prompt import prompt_text
from diffengine.engine.registry import PluginError

HI = [{"role": "user", "content": "Hi"}]
SYSTEM = [151644, 8948, 198, 2610, 525, 264, 10950, 17847, 13, 151645, 198]
USER = [151644, 872, 198, 13048, 151645, 198]
ASSISTANT = [151644, 77091, 198]
NO_THOUGHT = [151667, 271, 151668, 271]


@pytest.mark.parametrize(
    ("name", "family", "special", "prompt"),
    [
        ("Dream", DREAM, (151666, 151643, 151645), [*SYSTEM, *USER, *ASSISTANT]),
        ("A2D-Qwen2", A2D_QWEN2, (151665, 151645, 151645), [*SYSTEM, *USER, *ASSISTANT]),
        ("A2D-Qwen3", A2D_QWEN3, (151669, 151645, 151645), [*USER, *ASSISTANT, *NO_THOUGHT]),
        ("OPDLM", OPDLM, (151669, 151645, 151645), [*USER, *ASSISTANT, *NO_THOUGHT]),
        ("SDAR", SDAR, (151669, 151643, 151645), [*USER, *ASSISTANT]),
        (
            "Fast-dLLM v2",
            FAST_DLLM_V2,
            (151665, 151645, 151645),
            [*SYSTEM, *USER, *ASSISTANT],
        ),
    ],
)
def test_ids_and_prompts_are_the_published_ones(
    byte_pairs: Callable[..., None],
    tmp_path: Path,
    name: str,
    family: Family,
    special: tuple[int, int, int],
    prompt: list[int],
) -> None:
    """Qwen's ids of Qwen's words, in a vocabulary of Qwen's size."""
    byte_pairs(tmp_path, name, published_ids=True)
    tokenizer = load_tokenizer(tmp_path, family)
    config = {"eos_token_id": special[1], "pad_token_id": 151643}
    if name in ("Dream", "SDAR"):
        config["mask_token_id"] = special[0]
    found = special_tokens(family.tokens, config, tokenizer, tmp_path)
    assert found == TokenIds(*special)
    text = render_chat(tokenizer, HI, variables=family.template_variables)
    assert tokenizer.encode(text, add_special_tokens=False) == prompt
    if family.chat_template is not None:
        tokenizer.chat_template = None
        fallback = render_chat(tokenizer, HI, fallback=family.chat_template)
        assert fallback == text
        system = [{"role": "system", "content": "Be brief."}, *HI]
        assert render_chat(tokenizer, system, fallback=family.chat_template) == (
            "<|im_start|>system\nBe brief.<|im_end|>\n"
            "<|im_start|>user\nHi<|im_end|>\n<|im_start|>assistant\n"
        )


@pytest.mark.parametrize(
    ("family", "ids"),
    [
        ("Dream", TokenIds(323, 300, 302)),
        ("A2D-Qwen3", TokenIds(326, 302, 302)),
        ("A2D-Qwen2", TokenIds(322, 302, 302)),
        ("A2D-Llama", TokenIds(5, 1, 4)),
        ("iLLaDA", TokenIds(5, 2, 4)),
        ("SDAR", TokenIds(326, 300, 302)),
        ("Fast-dLLM v2", TokenIds(322, 302, 302)),
        ("OPDLM", TokenIds(326, 302, 302)),
        ("A2D-Qwen3 bd3lm", TokenIds(326, 302, 302)),
        ("A2D-Qwen2 bd3lm", TokenIds(322, 302, 302)),
        ("A2D-Llama bd3lm", TokenIds(5, 1, 4)),
    ],
)
def test_a_checkpoints_tokens_are_found(
    dense: Callable[..., Path], family: str, ids: TokenIds
) -> None:
    assert load_model(dense(family), device="cpu", weights=False).token_ids == ids


@pytest.mark.parametrize(("family", "mask"), [(OPDLM, 151669), (FAST_DLLM_V2, 151665)])
def test_a_mask_that_no_file_names_is_the_published_samplers(
    dense: Callable[..., Path], family: Family, mask: int
) -> None:
    """Of OPDLM's checkpoints some have Qwen3's own tokenizer, which has no mask."""
    tokenizer = load_tokenizer(dense("Dream"), DREAM)
    tokens = replace(family.tokens, mask=replace(family.tokens.mask, text="<|nothing|>"))
    here = Path("checkpoint")
    assert special_tokens(tokens, {"eos_token_id": 302}, tokenizer, here).mask == mask
    said = {"eos_token_id": 302, "mask_token_id": 7}
    assert special_tokens(tokens, said, tokenizer, here).mask == 7


TEXTS = ("2 + 2 = 4", "an  assistant's\n\n helpful\tuser", "Äpfel 三 + 四", " <|im_end|>x")


@pytest.mark.parametrize("text", TEXTS)
def test_byte_pairs_are_read_as_the_whole_tokenizer_is(
    dense: Callable[..., Path], text: str
) -> None:
    """The same tokens from vocab.json and merges.txt as from tokenizer.json; and back."""
    path = dense("A2D-Qwen3")
    whole = load_tokenizer(path, A2D_QWEN3)
    (path / "tokenizer.json").unlink()
    parts = load_tokenizer(path, A2D_QWEN3)
    ids = parts.encode(text, add_special_tokens=False)
    assert ids == whole.encode(text, add_special_tokens=False)
    assert parts.decode(ids) == whole.decode(ids) == text


def loaded_from(path: Path) -> MaskedDiffusionModel:
    return load_model(path, device="cpu", weights=False)


def edit(path: Path, **changes: Any) -> None:
    content = json.loads(path.read_text()) | changes
    path.write_text(json.dumps(content))


def without_mask(path: Path) -> None:
    for file in ("tokenizer.json", "tokenizer_config.json"):
        text = (path / file).read_text()
        (path / file).write_text(text.replace("<[MASK]>", "<other>"))


def moved_mask(path: Path) -> None:
    for file in ("tokenizer.json", "tokenizer_config.json"):
        text = (path / file).read_text().replace("<|start_header_id|>", "<x>")
        text = text.replace("<[MASK]>", "<|start_header_id|>").replace("<x>", "<[MASK]>")
        (path / file).write_text(text)


def test_an_id_that_only_the_authors_publish(dense: Callable[..., Path]) -> None:
    path = dense("iLLaDA")
    without_mask(path)
    assert loaded_from(path).token_ids.mask == 5
    edit(path / "config.json", mask_token_id=5)
    assert loaded_from(path).token_ids.mask == 5
    edit(path / "config.json", mask_token_id=6)
    with pytest.raises(CheckpointError, match="mask_token_id 6, but its family's authors say 5"):
        loaded_from(path)


def test_a_tokenizer_that_contradicts_the_authors(dense: Callable[..., Path]) -> None:
    path = dense("iLLaDA")
    moved_mask(path)
    with pytest.raises(
        CheckpointError,
        match=r"tokenizer\.json has <\[MASK\]> = 2, but its family's authors say 5",
    ):
        loaded_from(path)


def test_a_mask_that_is_nowhere(dense: Callable[..., Path]) -> None:
    path = dense("A2D-Llama")
    for file in ("tokenizer.json", "tokenizer_config.json"):
        (path / file).write_text((path / file).read_text().replace("<|mask|>", "<other>"))
    with pytest.raises(CheckpointError, match=r"tokenizer\.json: has no token <\|mask\|>"):
        loaded_from(path)


def test_an_eos_that_config_json_leaves_out(dense: Callable[..., Path]) -> None:
    path = dense("Dream", eos_token_id=None)
    assert loaded_from(path).token_ids.eos == 300
    with pytest.raises(CheckpointError, match="eos_token_id must be a int, got None"):
        loaded_from(dense("A2D-Qwen3", "other", eos_token_id=None))


def test_a_token_that_stands_for_unknown_ones_too(dense: Callable[..., Path]) -> None:
    """As `<|endoftext|>` does in transformers' Qwen2 tokenizer where the files name no other."""
    path = dense("Dream", eos_token_id=None)
    settings = json.loads((path / "tokenizer_config.json").read_text())
    del settings["unk_token"]
    (path / "tokenizer_config.json").write_text(json.dumps(settings))
    model = loaded_from(path)
    assert model.tokenizer.unk_token_id == 300
    assert model.token_ids.eos == 300
    edit(path / "tokenizer_config.json", added_tokens_decoder={}, mask_token=None)
    (path / "added_tokens.json").unlink()
    edit(path / "config.json", mask_token_id=None)
    with pytest.raises(CheckpointError, match=r"has no token <\|mask\|>, which this family needs"):
        loaded_from(path)


FAULTS: dict[str, tuple[Callable[[Path], object], str]] = {
    "no merges": (lambda p: (p / "merges.txt").unlink(), r"merges\.txt: not found.*vocab\.json"),
    "no vocabulary": (lambda p: (p / "vocab.json").unlink(), r"vocab\.json: not found"),
    "broken vocabulary": (
        lambda p: (p / "vocab.json").write_text("{"),
        r"vocab\.json: not valid JSON",
    ),
    "broken merges": (
        lambda p: (p / "merges.txt").write_bytes(b"\xff\xfe"),
        r"merges\.txt: not text",
    ),
    "merges of unknown tokens": (
        lambda p: (p / "merges.txt").write_text("#version: 0.2\nzz q\n"),
        "its tokenizer cannot be read",
    ),
    "a vocabulary of words": (
        lambda p: (p / "vocab.json").write_text('{"a": "b"}'),
        "its tokenizer cannot be read",
    ),
    "another mask": (
        lambda p: edit(p / "config.json", mask_token_id=7),
        r"says mask_token_id 7, but tokenizer_config\.json has <\|mask\|> = 323",
    ),
    "mask beyond the vocabulary": (
        lambda p: edit(p / "tokenizer_config.json", added_tokens_decoder={}),
        "mask_token_id 323, but",
    ),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_a_tokenizer_that_cannot_be_read_is_one_sentence(
    dense: Callable[..., Path], fault: str
) -> None:
    path = dense("Dream")
    breaking, message = FAULTS[fault]
    breaking(path)
    with pytest.raises(CheckpointError, match=message) as caught:
        loaded_from(path)
    assert "\n" not in str(caught.value)


def test_a_class_that_transformers_does_not_have(dense: Callable[..., Path]) -> None:
    family = replace(DREAM, byte_pair_tokenizer="Qwen2000Tokenizer")
    with pytest.raises(PluginError, match=r"tokenizer class 'Qwen2000Tokenizer' is not in trans"):
        load_tokenizer(dense("Dream"), family)


@pytest.mark.parametrize("rows", [310, 323])
def test_tokens_beyond_the_vocabulary_are_refused(dense: Callable[..., Path], rows: int) -> None:
    path = dense("Dream", vocab_size=rows)
    with pytest.raises(CheckpointError, match=f"its mask token is 323, but .* {rows} tokens"):
        loaded_from(path)


@pytest.mark.parametrize(
    "file",
    ["vocab.json", "merges.txt", "added_tokens.json", "tokenizer_config.json"],
)
def test_the_fingerprint_follows_every_file_of_the_tokenizer(
    dense: Callable[..., Path], file: str
) -> None:
    path = dense("Dream")
    before = loaded_from(path).fingerprint
    lines = (path / file).read_text().splitlines()
    if file == "merges.txt":
        lines[-2:] = reversed(lines[-2:])  # of words that do not meet
    (path / file).write_text("\n".join([*lines, ""]))
    assert loaded_from(path).fingerprint != before


def test_the_fingerprint_follows_the_template(dense: Callable[..., Path]) -> None:
    path = dense("A2D-Qwen3")
    before = loaded_from(path).fingerprint
    (path / "chat_template.jinja").write_text("{{ messages[0]['content'] }}")
    assert loaded_from(path).fingerprint != before


def test_a_prompt_is_made_as_the_family_tells_its_template(dense: Callable[..., Path]) -> None:
    model = loaded_from(dense("A2D-Qwen3"))
    problem = Problem(id="p", question="Hi", answer="4")
    thoughtless = prompt_text(problem, model, style="chat")
    assert thoughtless.endswith("<|im_start|>assistant\n<think>\n\n</think>\n\n")
    open_minded = replace(model, family=replace(model.family, template_variables={}))
    assert prompt_text(problem, open_minded, style="chat").endswith("<|im_start|>assistant\n")
