"""Settings: impossible ones are refused with a way out, and fingerprints follow what decides the
results."""

from __future__ import annotations

from typing import Any

import pytest

from diffengine.engine.config import ConfigError, RunConfig, fingerprint, resolve
from diffengine.engine.options import options_of
from diffengine.engine.policies import options_class
from diffengine.engine.policies.llada_options import LLaDAOptions

OPTIONS = options_of(RunConfig) | options_of(LLaDAOptions)
CHOICES = {name: option.choices for name, option in OPTIONS.items() if option.choices}


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"block_length": 24}, r"block_length 24 does not divide gen_length 128; use 16 or 32"),
        (
            {"block_length": 32, "steps": 130},
            r"steps 130 is not a multiple of the 4 blocks .*use 128 or 132",
        ),
        ({"block_length": 32, "steps": 3}, r"use 4"),
        ({"steps": 0}, "steps is 0"),
        ({"gen_length": -1}, "gen_length is -1"),
        ({"temperature": -0.1}, "temperature is -0.1"),
        ({"temperature": float("nan")}, "temperature is nan"),
        ({"cfg_scale": float("inf")}, "cfg_scale is inf"),
        ({"seed": -1}, "seed is -1"),
        ({"topk": 0}, "topk is 0"),
        (
            {"logits_dtype": "float32", "numerics": "reference"},
            "use logits_dtype model or numerics default",
        ),
    ],
)
def test_impossible_settings_are_refused(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        RunConfig.of(model="m", **changes)


@pytest.mark.parametrize("name", list(CHOICES))
def test_choices_are_listed(name: str) -> None:
    with pytest.raises(ConfigError, match=CHOICES[name][0]):
        RunConfig.of(**{"model": "m", name: "nonsense"})


def test_defaults_are_the_checkpoints_then_the_options() -> None:
    bare = resolve({}, checkpoint={}, model="m", dtype="float32")
    assert bare.sampler == LLaDAOptions(128, 128, block_length=128, temperature=0.0)
    own = {"steps": 48, "gen_length": 48, "block_length": 8, "do_sample": True}
    same = resolve({}, checkpoint=own, model="m", dtype="float32")
    assert same.sampler == LLaDAOptions(48, 48, block_length=8)
    longer = resolve({"gen_length": 64}, checkpoint=own, model="m", dtype="float32")
    assert longer.sampler == LLaDAOptions(64, 64, block_length=8)
    odd = resolve({"gen_length": 20}, checkpoint=own, model="m", dtype="float32")
    assert odd.sampler == LLaDAOptions(20, 20, block_length=20)
    with pytest.raises(ConfigError, match="unknown setting stepps"):
        resolve({"stepps": 3}, checkpoint={}, model="m", dtype="float32")


def test_the_fingerprint_changes_with_every_setting_but_the_models_place() -> None:
    base = RunConfig.of(model="m").as_dict()
    one = fingerprint(base, model="f", problems="p")
    assert fingerprint(base | {"model": "elsewhere"}, model="f", problems="p") == one
    others = [base | {name: "x"} for name in base if name != "model"]
    marks = [fingerprint(o, model="f", problems="p") for o in others]
    marks += [
        fingerprint(base, model="g", problems="p"),
        fingerprint(base, model="f", problems="q"),
    ]
    assert len({one, *marks}) == len(marks) + 1


def test_a_run_of_before_the_policies_had_options_keeps_its_fingerprint() -> None:
    """As a run.json of the first version has it."""
    config = {
        "model": "bundled", "policy": "llada", "steps": 48, "gen_length": 48, "block_length": 8,
        "temperature": 0.0, "cfg_scale": 0.0, "remasking": "low_confidence", "logits_eos_inf": False,
        "confidence_eos_eot_inf": False, "seed": 0, "numerics": "default", "dtype": "float32",
        "logits_dtype": "model", "prompt_style": "chat", "record": "all", "save_logits": "topk",
        "topk": 16, "mean_hidden": True,
    }  # fmt: skip
    own = {"steps": 48, "gen_length": 48, "block_length": 8, "temperature": 0.0}
    now = resolve({}, checkpoint=own, model="bundled", dtype="float32").as_dict()
    assert now == config | {"prompt_template": ""}
    assert [name for name in now if name in config] == list(config)
    model = "fb789ed1f38e7b95ac1245a3403e5ede5e32a800fc2e83ed80f9999f5b89118e"
    problems = "19c0a066aa63add1278d13bcdce112851048ab38dc8e4bf9c8a898ae1d8f1f8b"
    before = "29d04de88cd88866026f4004d84185a478dde0b49632e6a5eb815b36eebf94f9"
    assert fingerprint(now, model=model, problems=problems) == before


@pytest.mark.parametrize("policy", ["llada", "threshold", "dream", "rnd1"])
def test_the_recipe_of_an_autoregressive_ancestor_is_not_taken(policy: str) -> None:
    ancestor = {"do_sample": True, "temperature": 0.6, "top_p": 0.95, "top_k": 20}
    kind = options_class(policy)
    assert kind.resolved({}, ancestor) == kind.resolved({}, {})
    assert kind.resolved({}, {**ancestor, "steps": 8}).temperature == 0.6
