"""Presets: the settings of published evaluations and recipes by name. One file for each origin, one
row here.

`run --preset NAME` sets every option that the evaluation had; what else is given stands above it,
and it stands above the checkpoint's own defaults. Imports no torch.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

from ..options import ConfigError
from ..policies import options_class
from ..registry import UnknownNameError, nearest
from . import a2d, dllm, dream, fast_dllm, fast_dllm_v2, llada, llada2, nemotron, sdar
from .preset import LEFT_TO_THE_RUN, Preset, Score

__all__ = [
    "LEFT_TO_THE_RUN",
    "PRESETS",
    "Preset",
    "Score",
    "find",
    "remarks",
    "what_was_changed",
    "with_preset",
]

PRESETS: Mapping[str, Preset] = MappingProxyType(
    llada.PRESETS
    | fast_dllm.PRESETS
    | dream.PRESETS
    | dllm.PRESETS
    | llada2.PRESETS
    | sdar.PRESETS
    | a2d.PRESETS
    | fast_dllm_v2.PRESETS
    | nemotron.PRESETS
)


def find(name: str) -> Preset:
    """The preset of this name. Raises UnknownNameError, which names the nearest."""
    if name not in PRESETS:
        raise UnknownNameError(
            f"no preset is called {name!r}.{nearest(name, PRESETS)} `diffengine list presets` "
            "has them all"
        )
    return PRESETS[name]


def with_preset(name: str, given: Mapping[str, Any]) -> dict[str, Any]:
    """The settings of preset `name`, and above them those of `given` that are not None.

    A length given by hand takes along what the preset has of the same length: one step for each
    token, one block. The steps of block diffusion are worked out anew: as many as the blocks can
    use. Raises UnknownNameError, and ConfigError where `given` names another policy.
    """
    preset = find(name)
    by_hand = {key: value for key, value in given.items() if value is not None}
    policy = by_hand.get("policy", preset.policy)
    if policy != preset.policy:
        raise ConfigError(
            f"preset {name} is of policy {preset.policy}, but the policy is {policy!r}; leave "
            "one of them out"
        )
    settings = dict(preset.settings)
    if options_class(policy).of_blocks:
        del settings["steps"]
    if "gen_length" in by_hand:
        length = settings["gen_length"]
        for follower in ("steps", "block_length"):
            if settings.get(follower) == length:
                settings[follower] = by_hand["gen_length"]
    return settings | by_hand


def what_was_changed(name: str, config: Mapping[str, Any]) -> dict[str, Any]:
    """What run.json says of preset `name`: the settings in which `config` departs from it."""
    changed = {}
    for key, value in find(name).settings.items():
        if config[key] != value:
            changed[key] = {"preset": value, "run": config[key]}
    return {"name": name, "changed": changed}


def _what_does_not_carry_over(preset: Preset) -> str:
    """What was published of one model and is not true of another."""
    if preset.scores:
        return "the published score says nothing of it"
    return "these settings were published for the other alone"


def remarks(
    name: str, *, architecture: str, is_bundled: bool, prompt_template: str = ""
) -> list[str]:
    """What somebody who will compare a run with the published score ought to know."""
    preset = find(name)
    about = []
    if is_bundled or architecture != preset.architecture:
        other = "the bundled model" if is_bundled else f"a {architecture}"
        about.append(
            f"preset {name} is of {preset.model} ({preset.architecture}), this is {other}: "
            f"{_what_does_not_carry_over(preset)}"
        )
    if preset.examples and not prompt_template:
        about.append(
            f"preset {name}: the published prompts have {preset.examples} worked examples before "
            "the question, and these have none: expect another score, or give them by "
            "--prompt-template @FILE"
        )
    return about
