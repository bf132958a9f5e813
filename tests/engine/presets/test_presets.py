"""Each preset is a run that can start and says where it can be checked; what is given by hand
stands above it, and it stands above the checkpoint."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from diffengine.engine.config import ConfigError, resolve
from diffengine.engine.models import FAMILIES
from diffengine.engine.options import options_of
from diffengine.engine.policies import POLICIES, options_class
from diffengine.engine.presets import (
    LEFT_TO_THE_RUN,
    PRESETS,
    find,
    remarks,
    what_was_changed,
    with_preset,
)
from diffengine.engine.presets.show import lines, markdown
from diffengine.engine.registry import UnknownNameError

ROOT = Path(__file__).resolve().parents[3]
OWN = {
    "steps": 48,
    "gen_length": 48,
    "block_length": 8,
    "temperature": 0.7,
    "alg": "origin",
    "denoising_steps": 2,
    "editing_threshold": 0.1,
    "steps_per_block": 2,
    "sub_block_length": 4,
    "threshold": 0.33,
}
"""A generation_config.json that disagrees with every preset."""


def resolved(name: str, **given: Any) -> dict[str, Any]:
    """The settings of a run of preset `name` with a checkpoint that has its own defaults."""
    settings = with_preset(name, given)
    dtype = settings.pop("dtype")
    return resolve(settings, checkpoint=OWN, model="m", dtype=dtype).as_dict()


@pytest.mark.parametrize("name", PRESETS)
def test_each_preset_is_a_run_whatever_the_checkpoint_says(name: str) -> None:
    preset = PRESETS[name]
    config = resolved(name)
    assert {key: config[key] for key in preset.settings} == preset.settings
    assert what_was_changed(name, config) == {"name": name, "changed": {}}


@pytest.mark.parametrize("name", PRESETS)
def test_each_preset_sets_every_option_of_its_policy(name: str) -> None:
    preset = PRESETS[name]
    assert preset.policy in POLICIES
    options = set(options_of(options_class(preset.policy))) - set(LEFT_TO_THE_RUN)
    of_run = {"policy", "prompt_style", "prompt_template", "dtype"}
    assert set(preset.settings) == options | of_run


@pytest.mark.parametrize("name", PRESETS)
def test_each_preset_says_where_it_can_be_checked(name: str) -> None:
    preset = PRESETS[name]
    assert re.fullmatch(r"[\w.-]+/[\w.-]+", preset.model)
    assert preset.sources
    for source in preset.sources:
        assert re.fullmatch(r"https://(github\.com|arxiv\.org)/\S+", source)
        if "github.com" in source:
            assert re.search(r"/blob/[0-9a-f]{40}/\S+\.\w+$", source), "the file of a commit"
    assert all(0 < score.value < 100 and score.measured_with for score in preset.scores)
    assert bool(preset.task) == bool(preset.scores), "a recipe has neither"
    assert preset.prompt
    json.dumps(preset.record())


ARCHITECTURES = sorted({preset.architecture for preset in PRESETS.values()})


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_each_architecture_can_be_loaded(architecture: str) -> None:
    assert architecture in FAMILIES


@pytest.mark.parametrize(
    ("name", "score", "settings"),
    [
        # EVAL.md of ML-GSAI/LLaDA, read by eye, a column here and there
        ("llada-8b-base-gsm8k", [70.3], (1024, 1024, False, False)),
        ("llada-8b-base-bbh-256", [45.0, 47.3], (256, 256, False, False)),
        ("llada-8b-instruct-gsm8k", [69.4, 68.8], (512, 512, False, True)),
        ("llada-8b-instruct-gsm8k-block8", [78.6, 78.9], (256, 8, False, False)),
        ("llada-8b-instruct-math-block64", [42.2, 42.7], (512, 64, False, False)),
        ("llada-8b-instruct-humaneval", [49.4, 47.0], (512, 512, True, False)),
        ("llada-8b-instruct-arc-c", [88.5, 89.2], (512, 512, False, False)),
        ("llada-1.5-gsm8k", [83.8, 83.6], (256, 16, False, True)),
        ("llada-1.5-gpqa", [36.9, 34.8], (256, 16, False, False)),
    ],
)
def test_a_few_rows_are_those_of_the_source(
    name: str, score: list[float], settings: tuple[Any, ...]
) -> None:
    preset = PRESETS[name]
    assert [s.value for s in preset.scores] == score
    names = ("gen_length", "block_length", "logits_eos_inf", "confidence_eos_eot_inf")
    assert tuple(preset.settings[key] for key in names) == settings
    assert preset.settings["steps"] == preset.settings["gen_length"]


def test_by_hand_above_preset_above_checkpoint_above_default() -> None:
    config = resolved("llada-1.5-gsm8k", temperature=0.3, seed=5, topk=None)
    assert config["temperature"] == 0.3, "by hand"
    assert config["block_length"] == 16, "preset, the checkpoint says 8"
    assert config["seed"] == 5
    assert config["topk"] == 16, "default"
    assert what_was_changed("llada-1.5-gsm8k", config)["changed"] == {
        "temperature": {"preset": 0.0, "run": 0.3}
    }


def test_a_length_by_hand_takes_along_what_is_as_long() -> None:
    whole = with_preset("llada-8b-instruct-gsm8k", {"gen_length": 48})
    assert (whole["steps"], whole["block_length"]) == (48, 48)
    blocks = with_preset("llada-8b-instruct-gsm8k-block8", {"gen_length": 48})
    assert (blocks["steps"], blocks["block_length"]) == (48, 8)
    steps = with_preset("llada-8b-instruct-gsm8k", {"gen_length": 48, "steps": 12})
    assert (steps["steps"], steps["block_length"]) == (12, 48)


def test_steps_of_block_diffusion_follow_every_length() -> None:
    """They are as many as the blocks can use, or what is given by hand."""
    assert resolved("sdar-8b-chat-gsm8k", gen_length=64)["steps"] == 17 * 4
    assert resolved("sdar-8b-chat-gsm8k", gen_length=64, steps=9)["steps"] == 9
    edited = resolved("llada2.1-mini-speed-gpqa", gen_length=64)
    assert edited["steps"] == 3 * (32 + 16)


@pytest.mark.parametrize(
    ("name", "score", "settings"),
    [
        # model cards and reports, read by eye
        ("llada2.0-mini-gsm8k", 94.24, (32768, 0.95, None, 16)),
        ("llada2.0-flash-humaneval", 94.51, (32768, 0.95, None, 16)),
        ("llada2.1-mini-quality-gpqa", 53.28, (16384, 0.7, 0.5, 16)),
        ("llada2.1-mini-speed-gpqa", 48.36, (16384, 0.5, 0.0, 16)),
        ("llada2.1-mini-diffusers-speed", None, (256, 0.5, None, 17)),
    ],
)
def test_a_few_rows_of_llada2_are_those_of_the_source(
    name: str, score: float | None, settings: tuple[Any, ...]
) -> None:
    preset = PRESETS[name]
    assert [s.value for s in preset.scores] == ([score] if score else [])
    names = ("gen_length", "threshold", "editing_threshold", "max_post_steps")
    assert tuple(preset.settings[key] for key in names) == settings


@pytest.mark.parametrize(
    ("name", "score", "settings"),
    [
        # tables and scripts of dllm, Fast-dLLM and vLLM, read by eye
        ("qwen3-0.6b-bd3lm-gsm8k", 46.3, {"gen_length": 256, "steps_per_block": 32}),
        ("qwen3-0.6b-bd3lm-math", 12.9, {"gen_length": 256, "block_length": 32}),
        ("fast-dllm-v2-7b-gsm8k", 83.7, {"threshold": 1.0, "sub_block_length": 8}),
        ("fast-dllm-v2-1.5b-math", 38.1, {"threshold": 1.0, "gen_length": 2048}),
        ("fast-dllm-v2-7b", None, {"threshold": 0.9, "block_length": 32}),
        ("nemotron-labs-diffusion-8b", None, {"threshold": 0.9, "gen_length": 512}),
    ],
)
def test_a_few_rows_of_block_diffusion_are_those_of_the_source(
    name: str, score: float | None, settings: dict[str, Any]
) -> None:
    preset = PRESETS[name]
    assert [s.value for s in preset.scores] == ([score] if score else [])
    assert {key: preset.settings[key] for key in settings} == settings


def test_a_preset_of_another_policy_is_refused() -> None:
    assert with_preset("llada-1.5-gsm8k", {"policy": "llada"})["policy"] == "llada"
    with pytest.raises(
        ConfigError, match="llada-1.5-gsm8k is of policy llada, but .* 'dream'; leave"
    ):
        with_preset("llada-1.5-gsm8k", {"policy": "dream"})


def test_an_unknown_preset_is_answered_with_the_nearest() -> None:
    with pytest.raises(UnknownNameError) as caught:
        find("llada-8b-instruct-gsm8")
    assert str(caught.value) == (
        "no preset is called 'llada-8b-instruct-gsm8'. Did you mean 'llada-8b-instruct-gsm8k'? "
        "`diffengine list presets` has them all"
    )


def said(name: str, architecture: str = "LLaDAModelLM", **given: Any) -> list[str]:
    template = resolved(name, **given)["prompt_template"]
    return remarks(name, architecture=architecture, is_bundled=False, prompt_template=template)


def test_what_stands_between_a_run_and_the_score_is_said() -> None:
    name = "llada-8b-instruct-math"
    assert said(name) == []
    (other,) = said(name, "DreamModel")
    assert "of GSAI-ML/LLaDA-8B-Instruct (LLaDAModelLM), this is a DreamModel" in other
    (bundled,) = remarks(name, architecture="LLaDAModelLM", is_bundled=True)
    assert "this is the bundled model" in bundled
    assert other.endswith(": the published score says nothing of it")


def test_of_a_recipe_no_score_is_said() -> None:
    (other,) = said("dream-7b-instruct", "LLaDAModelLM")
    assert other.endswith(": these settings were published for the other alone")
    row = next(line for line in lines() if line.startswith("  dream-7b-instruct  "))
    assert row.endswith("  a recipe without a score")


@pytest.mark.parametrize("name", ["README.md", "docs/presets.md"])
def test_the_pages_count_evaluations_and_recipes_apart(name: str) -> None:
    recipes = sum(not preset.scores for preset in PRESETS.values())
    page = " ".join((ROOT / name).read_text(encoding="utf-8").split())
    assert re.search(
        rf"\b{len(PRESETS) - recipes} (published )?evaluations with their scores\b", page
    )
    assert re.search(rf"\band (of )?{recipes} recipes\b", page)


def test_missing_examples_are_said_unless_somebody_gives_them() -> None:
    (examples,) = said("llada-1.5-gsm8k")
    assert "4 worked examples before the question, and these have none" in examples
    assert said("llada-1.5-gsm8k", prompt_template="Question: {question}\nAnswer:") == []


def test_the_page_has_the_table() -> None:
    page = (ROOT / "docs" / "presets.md").read_text(encoding="utf-8")
    assert page.endswith(markdown()), "the page ends with what `markdown()` returns"
    assert all(f"`{name}`" in page for name in PRESETS)


def test_the_terminal_shows_settings_and_score() -> None:
    text = "\n".join(lines())
    row = next(line for line in lines() if " llada-8b-instruct-gsm8k " in line)
    assert "llada 512/512/512 confidence_eos_eot_inf" in row
    assert "69.4 internal toolkit, 68.8 OpenCompass" in row
    assert text.count("\n  ") >= len(PRESETS)
    assert "/EVAL.md" in text


def test_presets_need_no_torch() -> None:
    code = "import sys; from diffengine.engine.presets import show; list(show.lines())\n"
    code += "assert 'torch' not in sys.modules"
    subprocess.run([sys.executable, "-P", "-c", code], check=True, timeout=60)
