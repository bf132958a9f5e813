"""What is not there for models that attend block by block is refused in one sentence, before
anything is written."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from click.testing import CliRunner

from diffengine.engine.cli.command_line import group
from diffengine.engine.likelihood.measure import Place, likelihood_bound
from diffengine.engine.models.family import CheckpointError
from diffengine.engine.models.loading import MaskedDiffusionModel
from diffengine.engine.options import ConfigError
from diffengine.engine.runs.run import run
from diffengine.engine.runs.sweep import sweep

SHORT = ["--gen-length", "6", "--block-length", "3"]


def files_in(folder: Path) -> list[str]:
    return sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*"))


def refused(arguments: list[str], kind: type[Exception]) -> str:
    """What a command says that fails; one sentence, or two joined by a semicolon."""
    result = CliRunner().invoke(group, arguments)
    assert isinstance(result.exception, kind), result.output
    said = str(result.exception)
    assert "\n" not in said
    return said


COMMANDS: dict[str, tuple[list[str], str]] = {
    "compile": (["run", *SHORT, "--compile"], "run without --compile"),
    "dry run compiled": (["run", *SHORT, "--compile", "--dry-run"], "run without --compile"),
    "estimate fused": (["estimate", *SHORT, "--fused"], "run without --fused"),
    "fused": (["run", *SHORT, "--fused"], "run without --fused"),
    "likelihood": (["likelihood", "samples"], "use a model that attends fully"),
}


@pytest.mark.parametrize("name", sorted(COMMANDS))
def test_a_command_is_refused(sdar_path: Path, tmp_path: Path, name: str) -> None:
    command, end = COMMANDS[name]
    out = tmp_path / "out"
    said = refused([*command, "--model", str(sdar_path), "--out", str(out)], CheckpointError)
    assert "SDARForCausalLM attends block by block" in said and said.endswith(end)
    assert files_in(tmp_path) == []


@pytest.mark.parametrize("policy", ["dream", "llada", "threshold"])
def test_policies_of_other_models_are_refused(
    sdar: MaskedDiffusionModel, tmp_path: Path, policy: str
) -> None:
    with pytest.raises(ConfigError, match=r"attend fully.*use --policy sdar,"):
        run("samples", out=tmp_path / "out", model=sdar, policy=policy, gen_length=6)
    assert files_in(tmp_path) == []


def test_the_wrong_policy_is_said_before_its_options(
    sdar: MaskedDiffusionModel, tmp_path: Path
) -> None:
    options = {"gen_length": 6, "block_length": 3, "steps": 5}  # no multiple of the two blocks
    with pytest.raises(ConfigError, match="policy llada is for models that attend fully"):
        run("samples", out=tmp_path / "out", model=sdar, policy="llada", **options)


def test_its_policy_is_refused_for_models_that_attend_fully(
    bundled_model: MaskedDiffusionModel, tmp_path: Path
) -> None:
    with pytest.raises(ConfigError, match="policy sdar is for models that attend block by block"):
        run("samples", out=tmp_path / "out", model=bundled_model, policy="sdar", gen_length=6)
    assert files_in(tmp_path) == []


def test_a_mean_of_states_is_refused(sdar: MaskedDiffusionModel, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"mean_hidden is on.*leave it out$"):
        run("samples", out=tmp_path / "out", model=sdar, mean_hidden=True, gen_length=6)
    assert files_in(tmp_path) == []


def test_a_sweep_has_no_exact_run(sdar: MaskedDiffusionModel, tmp_path: Path) -> None:
    settings: dict[str, Any] = {
        "model": sdar,
        "out": tmp_path / "out",
        "limit": 2,
        "gen_length": 6,
        "block_length": 3,
        "confidence_threshold": [0.3, 0.9],
    }
    with pytest.raises(ConfigError, match=r"attends block by block.*use --no-exact") as caught:
        sweep("samples", **settings)
    assert "\n" not in str(caught.value) and files_in(tmp_path) == []
    runs = sweep("samples", exact=False, **settings).runs
    assert [each.reference for each in runs] == [runs[0].name] * 2


def test_a_run_of_blocks_has_no_branches(sdar: MaskedDiffusionModel, tmp_path: Path) -> None:
    out = tmp_path / "out"
    run("samples", out=out, model=sdar, gen_length=6, block_length=3, limit=2, temperature=1.0)
    before = files_in(tmp_path)
    for more in ([], ["--dry-run"]):
        said = refused(["branch", str(out), *more], ConfigError)
        assert "attends block by block" in said
    assert files_in(tmp_path) == before


def test_likelihoods_are_refused_of_the_api_too(sdar: MaskedDiffusionModel) -> None:
    place = Place(torch.arange(20, 30), [8, 9])
    with pytest.raises(CheckpointError, match="attends block by block"):
        likelihood_bound(sdar, place, [70, 71])
