"""The options of all policies on one command line: one meaning for each name, and help that says
whose they are."""

from __future__ import annotations

import re

import pytest
from click.testing import CliRunner

from diffengine.engine.cli.command_line import group
from diffengine.engine.cli.options import policies_by_option
from diffengine.engine.options import kinds_of, options_of
from diffengine.engine.policies import OPTIONS, POLICIES


def help_of_run() -> dict[str, str]:
    """What `run --help` says of each option, spaces and line ends made one space."""
    text = CliRunner().invoke(group, ["run", "--help"]).output
    parts = re.split(r"^  --", text, flags=re.M)[1:]
    return {part.split()[0]: " ".join(part.split()) for part in parts}


@pytest.mark.parametrize("name", list(policies_by_option()))
def test_a_name_that_policies_share_has_one_type_and_one_set_of_values(name: str) -> None:
    owners = policies_by_option()[name]
    types = {kinds_of(kind, name) for kind in owners.values()}
    choices = {options_of(kind)[name].choices for kind in owners.values()}
    assert (len(types), len(choices)) == (1, 1)


def test_help_says_whose_an_option_is() -> None:
    said = help_of_run()
    assert said["alg"].endswith("[default: origin] [dream]")
    assert "[dream, rnd1, sdar" in said["top-p"]
    assert "prophet: one for each token; sdar, " in said["steps"]
    assert "[not dream" in said["block-length"]
    owners = policies_by_option()
    for policy in OPTIONS:
        for name in options_of(owners["steps"][policy]):
            bracket = said[name.replace("_", "-")].rpartition("[")[2].removesuffix("]")
            if bracket.startswith("not "):
                assert policy not in bracket.removeprefix("not ").split(", ")
            elif not bracket.startswith("default"):
                assert policy in bracket.split(", ")


def test_help_tells_defaults_apart() -> None:
    said = help_of_run()
    assert "[default: 0; rnd1: 0.1]" in said["temperature"]


def test_every_policy_of_ours_shows_its_options() -> None:
    assert set(OPTIONS) == set(POLICIES)
