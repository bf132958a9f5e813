"""A run that a user starts of a checkpoint of Nemotron-Labs-Diffusion, from the command line to the
file and back."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from diffengine.engine.cli.command_line import group
from diffengine.engine.store import open_run


def invoke(*arguments: Any) -> Any:
    return CliRunner().invoke(group, [str(argument) for argument in arguments])


@pytest.mark.parametrize("strategy", [None, "leftmost", "low_confidence"])
def test_a_run_decodes_as_the_family_is_published(
    nemotron: Callable[..., Path], tmp_path: Path, strategy: str | None
) -> None:
    out = tmp_path / "run"
    given = [] if strategy is None else ["--strategy", strategy, "--steps-per-block", 4]
    short = ["--problems", "generated:3", "--gen-length", 11, "--device", "cpu", "--out", out]
    done = invoke("run", "--model", nemotron(), *short, *given)
    assert done.exit_code == 0, done.output
    run = open_run(out)
    config = run.info["config"]
    assert (config["policy"], config["block_length"], config["threshold"]) == ("nemotron", 8, 0.9)
    assert config["strategy"] == strategy or strategy is None
    assert config["strategy"] == "confidence_threshold" or strategy is not None
    assert config["steps"] == 3 * (8 if strategy is None else 4)
    for number in range(len(run.ids)):
        starts = run["open_start"][number]
        assert set(starts[starts >= 0].tolist()) <= {0, 8}
        assert (run["token"][number][-1] != run.info["model"]["mask_token_id"]).all()
    verified = invoke("verify", out)
    assert verified.exit_code == 0, verified.output
