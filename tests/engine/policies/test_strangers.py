"""A policy that somebody else wrote, from the command line to the analysis; and settings that are
refused before anything is written."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from click.testing import CliRunner

import diffengine as de
from diffengine.engine.cli.command_line import expected_failure, group
from diffengine.engine.config import ConfigError
from diffengine.engine.models.attention import packing_of
from diffengine.engine.models.loading import MaskedDiffusionModel
from diffengine.engine.problems.read import read_problems
from diffengine.engine.prompts.prompt import build_prompt
from diffengine.engine.registry import PluginError
from diffengine.engine.store import open_run, verify_run

ENTROPY = "entropy_policy:EntropyPolicy"
SHORT = ["--gen-length", "12", "--steps", "9"]


@pytest.fixture(autouse=True)
def strangers(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(Path(__file__).parent / "strangers"))


def lowest_entropy_first(model: MaskedDiffusionModel, prompt: list[int]) -> list[int]:
    """Twelve tokens in nine steps, one position at a time."""
    mask = model.token_ids.mask
    canvas = [*prompt, *[mask] * 12]
    for count in [2] * 3 + [1] * 6:
        ids = torch.tensor(canvas)
        hidden = model.hidden(ids, torch.arange(len(ids)), packing_of([len(ids)], model.device))
        logits = (hidden @ model.head_weight.T).float()
        distribution = logits.softmax(-1)
        entropy = -(distribution * distribution.clamp_min(1e-30).log()).sum(-1)
        logits[:, mask] = -torch.inf
        logits[:, model.n_candidates :] = -torch.inf
        masked = [place for place, token in enumerate(canvas) if token == mask]
        for place in sorted(masked, key=lambda p: (float(entropy[p]), p))[:count]:
            canvas[place] = int(logits[place].argmax())
    return canvas[len(prompt) :]


def test_dreams_entropy_rule_from_a_module_path(
    tmp_path: Path, bundled_model: MaskedDiffusionModel
) -> None:
    out = tmp_path / "run"
    command = ["run", "--problems", "generated:12", "--policy", ENTROPY, *SHORT, "--out", str(out)]
    done = CliRunner().invoke(group, [*command, "--option", "temperature=0.0"])
    assert done.exit_code == 0, done.output
    stored = open_run(out)
    for row, problem in enumerate(read_problems("generated:12").problems):
        prompt = build_prompt(problem, row, bundled_model, style="chat", gen_length=12)
        expected = lowest_entropy_first(bundled_model, list(prompt.token_ids))
        (place,) = [i for i, name in enumerate(stored.ids) if name == problem.id]
        assert stored["token"][...][place, -1].tolist() == expected

    config = stored.info["config"]
    assert (config["policy"], config["temperature"], config["seed"]) == (ENTROPY, 0.0, 0)
    assert "block_length" not in config and "remasking" not in config
    (plugin,) = stored.info["plugins"]
    assert plugin.keys() == {"kind", "name", "target", "package", "version"}
    assert (plugin["kind"], plugin["name"], plugin["target"]) == ("policy", ENTROPY, ENTROPY)
    assert (stored["block"][...] == 0).all()
    assert verify_run(out).ok

    again = CliRunner().invoke(group, [*command, "--temperature", "0", "--json"])
    assert json.loads(again.stdout.splitlines()[-1])["resumed"] == 12
    analysed = CliRunner().invoke(group, ["analyze", str(out)])
    assert analysed.exit_code == 0, analysed.output
    assert "12 positions, no blocks" in (out / "analysis_summary.txt").read_text()


def test_noise_is_a_strangers_too(tmp_path: Path, bundled_model: MaskedDiffusionModel) -> None:
    settings: dict[str, Any] = {"policy": ENTROPY, "gen_length": 8, "steps": 8, "temperature": 1.0}
    tokens = []
    for seed in (1, 2):
        out = tmp_path / str(seed)
        de.run("generated:4", out=out, model=bundled_model, seed=seed, **settings)
        tokens.append(open_run(out)["token"][...])
    assert not np.array_equal(*tokens)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--policy", ENTROPY, "--remasking", "random"], "unknown setting remasking"),
        (["--policy", ENTROPY, "--option", "threshold=1"], "unknown setting threshold"),
        (["--policy", ENTROPY, "--option", "temperature=warm"], "'warm'; expected a number"),
        (["--policy", ENTROPY, "--option", "temperature=-1"], "finite and not negative"),
        (["--option", "temperature"], "expected NAME=VALUE"),
        (["--option", "seed=1", "--option", "seed=2"], "given twice"),
        (["--seed", "1", "--option", "seed=1"], "give one of them"),
        (["--option", "topk=3"], "unknown setting topk"),
        (["--policy", "entropy_policy:Missing"], "has no 'Missing'"),
        (["--policy", "no_such_module:Policy"], "cannot be imported"),
        (["--policy", "entropy_policy:EntropyOptions"], "lacks Options"),
        (["--policy", "dreem"], "no policy is called 'dreem'"),
        (["--block-length", "5"], "does not divide"),
    ],
)
def test_wrong_settings_are_refused_before_anything_is_written(
    arguments: list[str], message: str, tmp_path: Path
) -> None:
    out = tmp_path / "run"
    for command in ("run", "estimate"):
        done = CliRunner().invoke(
            group, [command, "--problems", "generated:2", "--out", str(out), *SHORT, *arguments]
        )
        error = done.exception
        assert error is not None
        if isinstance(error, SystemExit):  # click's own
            assert (done.exit_code, message in done.output) == (2, True)
        else:
            assert (expected_failure(error), message in str(error)) == (2, True), error
        assert not out.exists()


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"steps": "8"}, "steps is '8', of type str; expected a whole number"),
        ({"temperature": True}, "temperature is True, of type bool; expected a number"),
        ({"policy": ENTROPY, "cfg_scale": 1.0}, "unknown setting cfg_scale; with policy entropy"),
        ({"sed": 1}, "unknown setting sed.*Did you mean 'seed'"),
    ],
)
def test_python_is_answered_likewise(
    settings: dict[str, Any], message: str, tmp_path: Path, bundled_model: MaskedDiffusionModel
) -> None:
    with pytest.raises(ValueError, match=message):
        de.run("generated:2", out=tmp_path / "run", model=bundled_model, **settings)
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("steps", "sentence"),
    [(3, "steps is 3; use an even number"), (6, "performed has 5 steps")],
)
def test_what_a_policy_refuses_itself_leaves_nothing_behind(
    tmp_path: Path, bundled_model: MaskedDiffusionModel, steps: int, sentence: str
) -> None:
    """Its options are right one by one; only the policy knows better."""
    out = tmp_path / "run"
    settings = {"policy": "particular_policy:Particular", "steps": steps, "gen_length": 8}
    with pytest.raises((ConfigError, PluginError), match=sentence):
        de.run("generated:1", out=out, model=bundled_model, **settings)
    assert not out.exists()
    settings["steps"] = 4
    assert de.run("generated:1", out=out, model=bundled_model, **settings).done == 1


def test_options_come_from_a_file(tmp_path: Path) -> None:
    file = tmp_path / "run.toml"
    file.write_text(f'[run]\npolicy = "{ENTROPY}"\noption = ["temperature=0.5", "seed=3"]\n')
    out = tmp_path / "run"
    command = ["run", "--config", str(file), "--problems", "generated:2", *SHORT, "--out", str(out)]
    done = CliRunner().invoke(group, command)
    assert done.exit_code == 0, done.output
    config = open_run(out).info["config"]
    assert (config["temperature"], config["seed"]) == (0.5, 3)


def test_another_version_of_a_plug_in_is_told(
    tmp_path: Path, bundled_model: MaskedDiffusionModel, caplog: pytest.LogCaptureFixture
) -> None:
    from diffengine.engine.runs import run_json

    settings: dict[str, Any] = {"policy": ENTROPY, "gen_length": 4, "steps": 4}
    out = tmp_path / "run"
    de.run("generated:2", out=out, model=bundled_model, **settings)
    real = run_json.plugins_used
    with pytest.MonkeyPatch.context() as patch:

        def newer(names: Any) -> list[dict[str, str]]:
            return [row | {"version": "2"} for row in real(names)]

        patch.setattr(run_json, "plugins_used", newer)
        de.run("generated:2", out=out, model=bundled_model, **settings)
    assert "the run began with other code from outside" in caplog.text


ROGUES = """
import torch
from entropy_policy import EntropyPolicy
from diffengine.engine.decoding.policy import Update

class Raising(EntropyPolicy):
    def step(self, canvas, proposal, stats):
        return {}["nothing"]

class Misshapen(EntropyPolicy):
    def step(self, canvas, proposal, stats):
        return Update(proposal.token, proposal.token > 0)

class Greedy(EntropyPolicy):
    def step(self, canvas, proposal, stats):
        token = torch.where(canvas.position % 2 == 0, proposal.token.view_as(canvas.generated), self.mask_id)
        return Update(token, torch.ones_like(token, dtype=torch.bool))
"""


@pytest.fixture
def rogues(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "rogues.py").write_text(ROGUES)
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.delitem(sys.modules, "rogues", raising=False)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("Raising", r"policy Raising: its step raises KeyError: 'nothing' \(.*rogues.py, line 8\)"),
        ("Misshapen", r"token is \[\d+\], commit \[\d+\]; expected \[\d+, 4\]"),
    ],
)
def test_a_policy_that_fails_is_named(
    name: str, message: str, rogues: None, tmp_path: Path, bundled_model: MaskedDiffusionModel
) -> None:
    settings: dict[str, Any] = {"policy": f"rogues:{name}", "gen_length": 4, "steps": 4}
    with pytest.raises(PluginError, match=message):
        de.run("generated:2", out=tmp_path / "run", model=bundled_model, **settings)


def test_no_policy_can_change_what_was_committed_or_commit_the_mask_token(
    rogues: None, tmp_path: Path, bundled_model: MaskedDiffusionModel
) -> None:
    out = tmp_path / "run"
    settings: dict[str, Any] = {"policy": "rogues:Greedy", "gen_length": 8, "steps": 8}
    de.run("generated:3", out=out, model=bundled_model, **settings)
    stored = open_run(out)
    committed = stored["committed"][...]
    assert (committed[:, 0, ::2] == 1).all() and committed.sum() == committed[:, 0].sum()
    assert (stored["token"][...][..., 1::2] == bundled_model.token_ids.mask).all()
    assert verify_run(out).ok
