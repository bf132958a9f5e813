"""Checkpoints that share an architecture and attend differently: which kind one is, by its names and
settings; and I-DLM, which is none of SDAR's."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from diffengine.engine.models import a2d
from diffengine.engine.models.family import CheckpointError
from diffengine.engine.models.loading import load_model, published_policy
from diffengine.engine.models.sdar import CAUSAL

MDLM = "Qwen3-0.6B-diffusion-mdlm-v0.1"
BD3LM = "Qwen3-0.6B-diffusion-bd3lm-v0.1"
OPDLM = "OPDLM-0.6B"
POLICIES = {"masked": "llada", "blocks": "bd3lm", "opdlm": "sdar"}


def say(path: Path, file: str, **settings: Any) -> None:
    content = json.loads((path / file).read_text()) if (path / file).is_file() else {}
    (path / file).write_text(json.dumps(content | settings))


def kind_of(path: Path) -> str:
    """By what is loaded, which is what a run decodes with where nothing is said."""
    model = load_model(path, device="cpu", weights=False)
    assert published_policy(path) == model.family.policy
    (kind,) = [kind for kind, policy in POLICIES.items() if policy == model.family.policy]
    assert (model.family.blocks is None) == (kind == "masked")
    assert ("block_length" in model.sampler_defaults) == (kind != "masked")
    return kind


@pytest.mark.parametrize("architecture", ["A2D-Qwen3", "A2D-Qwen2", "A2D-Llama"])
@pytest.mark.parametrize("place", ["directory", "_name_or_path", "README.md"])
@pytest.mark.parametrize(
    ("name", "kind"),
    [
        (BD3LM, "blocks"),
        (".models/a2d/Qwen3-0.6B/bd3lm-alpaca", "blocks"),
        ("Some Block-Diffusion model", "blocks"),
        ("block_diffusion", "blocks"),
        (MDLM, "masked"),
        ("a masked diffusion model", "masked"),
        ("checkpoint-final", "masked"),
    ],
)
def test_a_name_says_which_kind_of_a2d_it_is(
    dense: Callable[..., Path], architecture: str, place: str, name: str, kind: str
) -> None:
    path = dense(architecture, Path(name).name if place == "directory" else "checkpoint")
    if place == "README.md":
        (path / place).write_text(f"---\nlicense: mit\n---\n# {name}\n\nSee its siblings.\n")
    elif place != "directory":
        say(path, "config.json", **{place: name})
    assert kind_of(path) == kind


@pytest.mark.parametrize(
    ("directory", "kept", "heading", "kind"),
    [
        (BD3LM, "a2d/mdlm/warm-up", "Tiny A2D, mdlm and bd3lm", "blocks"),
        (MDLM, "a2d/bd3lm", "bd3lm", "masked"),
        ("mine", "a2d/bd3lm", "mdlm", "blocks"),
        ("mine", "a2d/mdlm", "bd3lm", "masked"),
        ("mine", "a2d/mine", "mdlm", "masked"),
        ("mine", "a2d/mine", "mine", "masked"),
        (OPDLM, BD3LM, "bd3lm", "opdlm"),
        ("mine", "divelab/OPDLM-MATH-4B", "bd3lm", "opdlm"),
    ],
)
def test_the_nearest_name_that_says_a_kind_decides(
    dense: Callable[..., Path], directory: str, kept: str, heading: str, kind: str
) -> None:
    """A checkpoint keeps the name of what it was trained from."""
    path = dense("A2D-Qwen3", directory, _name_or_path=kept)
    (path / "README.md").write_text(f"# {heading}\n\nIts sibling is trained by bd3lm.\n")
    assert kind_of(path) == kind


SETTINGS = [
    ("config.json", {"block_size": 16}, 16),
    ("config.json", {"block_length": 8}, 8),
    ("config.json", {"bd_size": 4}, 4),
    ("generation_config.json", {"steps_per_block": 8}, 32),
    ("generation_config.json", {"denoising_steps": 4, "block_length": 4}, 4),
]


@pytest.mark.parametrize(("file", "settings", "length"), SETTINGS, ids=str)
def test_settings_of_blocks_say_it_too(
    dense: Callable[..., Path], file: str, settings: dict[str, Any], length: int
) -> None:
    path = dense("A2D-Qwen3", "checkpoint")
    say(path, file, **settings)
    assert kind_of(path) == "blocks"
    model = load_model(path, device="cpu", weights=False)
    assert model.sampler_defaults["block_length"] == length

    named = dense("A2D-Qwen3", MDLM)
    say(named, file, **settings)
    (key, value) = next(iter(settings.items()))
    with pytest.raises(CheckpointError) as caught:
        load_model(named, device="cpu", weights=False)
    said = str(caught.value)
    assert MDLM in said and f"{file}: {key} is {value}" in said and "\n" not in said
    with pytest.raises(CheckpointError, match="which is masked diffusion, but"):
        published_policy(named)


def test_a_length_of_blocks_in_a_sampler_says_nothing(dense: Callable[..., Path]) -> None:
    """The sampler of masked diffusion goes through blocks of that length, which attend fully."""
    path = dense("A2D-Qwen3", "checkpoint")
    say(path, "generation_config.json", block_length=16)
    model = load_model(path, device="cpu", weights=False)
    assert model.family.blocks is None and model.family.policy == "llada"


def test_a_null_says_nothing(dense: Callable[..., Path]) -> None:
    path = dense("A2D-Qwen3", MDLM, block_size=None)
    assert kind_of(path) == "masked"


def test_where_blocks_lie() -> None:
    """As dllm's sampler has them: the prompt's end is a border, the last block ends with the text;
    OPDLM's engine is SDAR's, which counts from the prompt's first token."""
    for kinds in (a2d.QWEN3, a2d.QWEN2, a2d.LLAMA):
        blocks = kinds.blocks.blocks
        assert blocks is not None
        assert (blocks.length, blocks.from_prompt_end, blocks.whole_last) == (32, True, False)
        assert not blocks.causal_context
    blocks = a2d.OPDLM.blocks
    assert blocks is not None
    assert (blocks.length, blocks.from_prompt_end, blocks.whole_last) == (4, False, True)


CAUSAL_NAMES = ["I-DLM-8B", "yifanyu/I-DLM-32B", "idlm_8b", "I-DLM", "uno-qwen3-8B"]


@pytest.mark.parametrize("name", CAUSAL_NAMES)
@pytest.mark.parametrize("place", ["directory", "_name_or_path", "README.md"])
def test_a_causal_model_under_sdars_name_is_refused(
    dense: Callable[..., Path], place: str, name: str
) -> None:
    path = dense("SDAR", name.rpartition("/")[2] if place == "directory" else "checkpoint")
    if place == "README.md":
        (path / place).write_text(f"# {name}\n")
    elif place != "directory":
        say(path, "config.json", **{place: name})
    with pytest.raises(CheckpointError, match="causal model under SDAR's name") as caught:
        load_model(path, device="cpu", weights=False)
    assert name.rpartition("/")[2] in str(caught.value) and "\n" not in str(caught.value)


def test_its_own_key_says_so_under_any_name(dense: Callable[..., Path]) -> None:
    path = dense("SDAR", use_regular_causal=True)
    with pytest.raises(CheckpointError, match=r"config\.json: use_regular_causal is true"):
        load_model(path, device="cpu", weights=False)
    load_model(dense("SDAR", "other", use_regular_causal=False), device="cpu", weights=False)


@pytest.mark.parametrize(
    "name",
    ["SDAR-8B-Chat-b32", "TraDo-8B-Thinking", "MIDI-DLM", "mini-dlms", "unofficial-sdar"],
)
def test_other_names_are_no_matter(name: str) -> None:
    assert CAUSAL.search(name) is None
