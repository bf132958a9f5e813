"""What a run decodes with when nobody names a policy: what the model's family is published with."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

import diffengine as de
from diffengine.engine.cli.command_line import expected_failure, group
from diffengine.engine.models import FAMILIES, a2d
from diffengine.engine.models.loading import load_model, published_policy
from diffengine.engine.policies import POLICIES
from diffengine.engine.registry import PluginError
from diffengine.engine.runs.run import BUNDLED
from diffengine.engine.store import open_run

POLICY = 'read_offset=-1, policy="dream",'
SHORT = ["--problems", "generated:2", "--gen-length", "8"]


def invoke(*arguments: Any) -> Any:
    return CliRunner().invoke(group, [str(argument) for argument in arguments])


@pytest.fixture
def dreams(plugin: Any, shifted_checkpoint: Callable[..., Path]) -> Path:
    """A checkpoint of a family that is published with `dream`."""
    plugin.offer(plugin.SOURCE.replace("read_offset=-1,", POLICY), ShiftedModel="SHIFTED")
    return shifted_checkpoint()


def test_the_family_names_its_policy(dreams: Path) -> None:
    assert published_policy(dreams) == "dream"
    assert published_policy(BUNDLED) == "llada"


@pytest.mark.parametrize("architecture", list(FAMILIES))
def test_every_family_of_ours_names_a_policy_of_ours(architecture: str) -> None:
    assert FAMILIES.load(architecture).policy in POLICIES


@pytest.mark.parametrize("kinds", [a2d.QWEN3, a2d.QWEN2, a2d.LLAMA], ids=lambda k: k[0].stock_class)
def test_every_kind_of_a_family_does(kinds: a2d.Kinds) -> None:
    assert kinds.masked.policy in POLICIES and kinds.blocks.policy in POLICIES


def test_of_several_kinds_the_checkpoints_own_policy_is_taken(
    plugin: Any, shifted_checkpoint: Callable[..., Path]
) -> None:
    kinds = "\nfrom dataclasses import replace\nOTHER = replace(SHIFTED, policy='rnd1')\n"
    choice = "kind=lambda path, config: OTHER if path.name + str(config['steps']) == 'shifted7'"
    source = plugin.SOURCE.replace("read_offset=-1,", f"{POLICY} {choice} else SHIFTED,")
    plugin.offer(source + kinds, ShiftedModel="SHIFTED")
    path = shifted_checkpoint(steps=7)
    assert published_policy(path) == "rnd1"
    assert load_model(path, device="cpu", weights=False).family.policy == "rnd1"
    config = json.loads((path / "config.json").read_text())
    (path / "config.json").write_text(json.dumps(config | {"steps": 8}))
    assert published_policy(path) == "dream"


def test_a_run_says_and_keeps_what_it_decodes_with(dreams: Path, tmp_path: Path) -> None:
    out = tmp_path / "run"
    command = ["run", "--model", dreams, *SHORT, "--out", out, "--alg", "entropy"]
    done = invoke(*command, "--option", "eps=0.01")
    assert done.exit_code == 0, done.output
    assert "; policy dream; 2 problems" in done.output.splitlines()[0]
    config = open_run(out).info["config"]
    assert (config["policy"], config["alg"], config["eps"]) == ("dream", "entropy", 0.01)
    assert "block_length" not in config

    again = invoke(*command, "--option", "eps=0.01", "--policy", "dream", "--json")
    assert json.loads(again.stdout.splitlines()[-1])["resumed"] == 2


def test_a_policy_that_is_asked_for_stands_above(dreams: Path, tmp_path: Path) -> None:
    out = tmp_path / "run"
    done = invoke("run", "--model", dreams, *SHORT, "--out", out, "--policy", "llada")
    assert done.exit_code == 0, done.output
    assert open_run(out).info["config"]["policy"] == "llada"


def test_a_loaded_model_brings_it_too(dreams: Path, tmp_path: Path) -> None:
    out = tmp_path / "run"
    model = load_model(dreams, device="cpu")
    de.run("generated:2", out=out, model=model, gen_length=8, alg="topk_margin")
    assert open_run(out).info["config"]["policy"] == "dream"


def test_options_of_another_policy_are_refused_with_its_name(dreams: Path, tmp_path: Path) -> None:
    out = tmp_path / "run"
    failed = invoke("run", "--model", dreams, *SHORT, "--out", out, "--block-length", 4)
    assert failed.exception is not None
    assert expected_failure(failed.exception) == 2
    assert "unknown setting block_length; with policy dream" in str(failed.exception)
    assert not out.exists()


def test_the_checkpoints_own_recipe_is_resolved(dreams: Path, tmp_path: Path) -> None:
    recipe = {"alg": "entropy", "temperature": 0.2, "top_p": 0.95, "top_k": None, "steps": 4}
    (dreams / "generation_config.json").write_text(json.dumps(recipe))
    out = tmp_path / "run"
    de.run("generated:1", out=out, model=dreams)
    config = open_run(out).info["config"]
    assert {name: config[name] for name in recipe} == recipe | {"top_k": 0}


def test_the_recipe_of_an_autoregressive_ancestor_is_not(dreams: Path, tmp_path: Path) -> None:
    ancestor = {"do_sample": True, "temperature": 0.7, "top_p": 0.8, "top_k": 20}
    (dreams / "generation_config.json").write_text(json.dumps(ancestor))
    out = tmp_path / "run"
    de.run("generated:1", out=out, model=dreams, gen_length=4, temperature=0.1)
    config = open_run(out).info["config"]
    assert (config["temperature"], config["top_p"], config["top_k"]) == (0.1, 1.0, 0)


@pytest.mark.parametrize(
    ("policy", "message"),
    [("7", "has policy 7, expected the name of one"), ('"dreem"', "no policy is called 'dreem'")],
)
def test_a_family_that_names_no_policy_is_refused(
    policy: str, message: str, dreams: Path, plugin: Any, tmp_path: Path
) -> None:
    source = plugin.SOURCE.replace("read_offset=-1,", f"read_offset=-1, policy={policy},")
    plugin.offer(source, ShiftedModel="SHIFTED")
    out = tmp_path / "run"
    with pytest.raises((PluginError, KeyError), match=message):
        de.run("generated:1", out=out, model=dreams, gen_length=4)
    assert not out.exists()
