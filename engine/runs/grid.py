"""A grid of settings: several values for the options of policies, and the runs that they make.

Imports no torch; nothing here knows a checkpoint, so defaults are settled later.
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

from ..config import ConfigError, RunConfig, check_settings
from ..options import options_of, refuse_unknown
from ..policies import DEFAULT, options_class
from ..presets import find, with_preset


class GridRun(NamedTuple):
    """One run of a grid: the name of its folder, and its settings as `run` takes them."""

    name: str
    settings: dict[str, Any]


def grid_runs(policies: Sequence[str], values: Mapping[str, Any]) -> list[GridRun]:
    """Every combination of the `values`, for each policy of those options that it has.

    A value that is a list or a tuple is several. Raises ConfigError for a name that none of the
    policies has, several values for a setting of the run, an empty list, a value given twice, and
    whatever `run` would refuse of one of the runs; UnknownNameError, PluginError for a policy.
    """
    _refuse_twice("policy", policies)
    given = {name: value for name, value in values.items() if value is not None}
    _refuse_strange(policies, given)
    runs = []
    for policy in policies:
        runs += _runs_of(policy, given)
    _refuse_same_folder(runs)
    return runs


def on_preset(
    name: str, policies: Sequence[str], given: Mapping[str, Any]
) -> tuple[list[str], dict[str, Any]]:
    """Policies and values on top of those of a preset: its policy where none is given, and of its
    settings those that some policy has.

    Raises UnknownNameError.
    """
    preset = find(name)
    policies = list(policies) or [preset.policy]
    single = {key: value for key, value in given.items() if not _is_several(value)}
    base = with_preset(name, single)
    if _is_several(given.get("gen_length")):
        length = preset.settings["gen_length"]
        for follower in ("steps", "block_length"):
            if base.get(follower) == length:
                del base[follower]  # as many as there are tokens, whatever the length
    names = _names_of(policies) | options_of(RunConfig).keys()
    known = {key: value for key, value in base.items() if key in names and key != "policy"}
    return policies, {**known, **given}


def exact_settings(
    config: RunConfig, settings: Mapping[str, Any], *, published: str
) -> dict[str, Any]:
    """The settings of the run that one of a grid is measured from: one token a step, and whatever
    options of the run's own policy that has as well.

    Of the policy that the model's family is `published` with where the run is of that one, else of
    `llada`, which takes the surest token of each block first: what the parallel policies come to
    where their rule accepts nothing.
    """
    policy = published if config.policy == published else DEFAULT
    of_exact = options_of(options_class(policy))
    of_policy = options_of(type(config.sampler))
    exact = {}
    for name, value in settings.items():
        if name not in of_policy:
            exact[name] = value
    for name in of_exact:
        if name in of_policy:
            exact[name] = getattr(config.sampler, name)
    return {**exact, "policy": policy, "steps": config.gen_length}


def folder_name(*parts: str) -> str:
    """A name of a folder made of these parts."""
    return re.sub(r"[^A-Za-z0-9._+]+", "-", "-".join(parts)).strip("-.") or "run"


def varied_text(name: str, value: Any) -> str:
    """How one option and its value stand in the name of a folder."""
    return f"{name}-{str(value).lower() if isinstance(value, bool) else value}"


def _runs_of(policy: str, given: Mapping[str, Any]) -> list[GridRun]:
    of_policy = options_of(options_class(policy))
    several = {}
    fixed: dict[str, Any] = {"policy": policy}
    for name, value in given.items():
        if name not in of_policy:
            if name in options_of(RunConfig):
                fixed[name] = value
        elif _is_several(value):
            several[name] = list(value)
        else:
            fixed[name] = value
    for name, each in several.items():
        if not each:
            raise ConfigError(f"{name}: no value; give one at least")
        _refuse_twice(name, each)

    runs = []
    for combination in itertools.product(*several.values()):
        chosen = dict(zip(several, combination, strict=True))
        settings = {**fixed, **chosen}
        check_settings({name: value for name, value in settings.items() if name != "dtype"})
        varied = {name: chosen[name] for name in chosen if len(several[name]) > 1}
        runs.append(GridRun(_name(policy, varied), settings))
    return runs


def _name(policy: str, varied: Mapping[str, Any]) -> str:
    """ "threshold-0.9", "margin-min_margin-2-steps-48": the policy, and what varies."""
    parts = [policy]
    for name, value in varied.items():
        text = varied_text(name, value)
        parts.append(text.removeprefix(f"{policy}-") if name == policy else text)
    return folder_name(*parts)


def _names_of(policies: Sequence[str]) -> set[str]:
    """The options that any of these policies has."""
    names: set[str] = set()
    for policy in policies:
        names |= options_of(options_class(policy)).keys()
    return names


def _is_several(value: Any) -> bool:
    return isinstance(value, (list, tuple))


def _refuse_strange(policies: Sequence[str], given: Mapping[str, Any]) -> None:
    of_policies = _names_of(policies)
    refuse_unknown(given, of_policies | options_of(RunConfig).keys(), policy=" or ".join(policies))
    for name, value in given.items():
        if name not in of_policies and _is_several(value):
            raise ConfigError(
                f"{name} has {len(value)} values; it is a setting of all runs: give one. Several "
                "make a grid only for options of the policy"
            )


def _refuse_twice(name: str, values: Iterable[Any]) -> None:
    seen: list[Any] = []
    for value in values:
        if value in seen:
            raise ConfigError(f"{name} {value}: given twice; give each value once")
        seen.append(value)


def _refuse_same_folder(runs: Sequence[GridRun]) -> None:
    seen: set[str] = set()
    for run in runs:
        if run.name in seen:
            raise ConfigError(
                f"two runs of the sweep would share the folder {run.name}; make two sweeps of them"
            )
        seen.add(run.name)
