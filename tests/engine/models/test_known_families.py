"""What a checkpoint of a family that is known, or not known, is told."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from diffengine.engine.models import FAMILIES
from diffengine.engine.models.family import CheckpointError
from diffengine.engine.models.known_families import KNOWN, hub_hint, looks_like_hub_name
from diffengine.engine.models.loading import load_model


def refusal(path: Path, architecture: str) -> str:
    path.mkdir(exist_ok=True)
    (path / "config.json").write_text(json.dumps({"architectures": [architecture]}))
    with pytest.raises(CheckpointError) as caught:
        load_model(path)
    return str(caught.value)


def test_what_is_supported_leaves_the_table() -> None:
    assert KNOWN.keys() & set(FAMILIES) == set()


@pytest.mark.parametrize("architecture", KNOWN)
def test_a_known_family_is_named(tmp_path: Path, architecture: str) -> None:
    said = refusal(tmp_path, architecture)
    assert (
        KNOWN[architecture].name in said
        and "known, but not yet supported" in said
        and "config.json" in said
    )
    assert "\n" not in said


WHY = {
    "DreamForCausalLM": ("Dream-Reasoner", "block by block"),
    "WeDLMForCausalLM": ("WeDLM", "causally over tokens reordered"),
    "DiffusionGemmaForBlockDiffusion": ("DiffusionGemma", "uniform"),
    "GiddForDiffusionLM": ("GIDD", "uniform"),
    "BD3LM": ("BD3-LM", "DiT"),
    "MDLM": ("MDLM", "DiT"),
    "DharaForMaskedDiffusion": ("Dhara", "no stock class"),
}


@pytest.mark.parametrize("architecture", WHY)
def test_the_strings_of_published_checkpoints(tmp_path: Path, architecture: str) -> None:
    name, why = WHY[architecture]
    said = refusal(tmp_path, architecture)
    assert f", which is {name}" in said
    assert why in said.partition("not yet supported (")[2]


def test_any_other_is_unknown(tmp_path: Path) -> None:
    for name in ("Qwen3ForCausalLM", "Dream", "dreammodel", "LLaDA" * 50):
        said = refusal(tmp_path, name)
        assert "unknown here" in said and "known, but" not in said


@pytest.mark.parametrize(("name", "is_one"), [
    ("GSAI-ML/LLaDA-8B-Instruct", True), ("./llada-8b", False), ("a/b/c", False), ("/models/x", False), ("x", False),
    ("../x", False),
])  # fmt: skip
def test_the_name_of_a_repository_is_told_how_to_become_a_directory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, is_one: bool
) -> None:
    monkeypatch.chdir(tmp_path)
    assert looks_like_hub_name(name) == is_one
    with pytest.raises(CheckpointError, match="no such directory") as caught:
        load_model(name)
    assert (hub_hint(name) in str(caught.value)) == is_one


def test_the_hint_names_the_repositorys_own_name() -> None:
    """Which says what the checkpoint is, and is not what another was fetched into."""
    said = hub_hint("Dream-org/Dream-v0-Instruct-7B")
    assert "--local-dir Dream-v0-Instruct-7B` and give --model ./Dream-v0-Instruct-7B" in said
