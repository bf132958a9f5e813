"""A grid of settings: its combinations, names and refusals. No model is loaded here."""

from __future__ import annotations

import itertools
from pathlib import Path
from typing import Any

import pytest

from diffengine.engine.config import ConfigError, RunConfig
from diffengine.engine.presets import find
from diffengine.engine.registry import PluginError, UnknownNameError
from diffengine.engine.runs.grid import exact_settings, folder_name, grid_runs, on_preset


def test_every_combination_once() -> None:
    runs = grid_runs(["llada"], {"steps": [4, 8], "block_length": [2, 4, 8], "gen_length": 8})
    made = [(run.settings["steps"], run.settings["block_length"]) for run in runs]
    expected = [pair for pair in itertools.product([4, 8], [2, 4, 8])]
    assert made == expected
    assert all(run.settings["gen_length"] == 8 for run in runs)
    assert [run.name for run in runs][:2] == [
        "llada-steps-4-block_length-2",
        "llada-steps-4-block_length-4",
    ]
    assert len({run.name for run in runs}) == 6


def test_an_option_called_as_its_policy_is_named_once() -> None:
    runs = grid_runs(["threshold", "margin"], {"threshold": [0.6, 0.9], "min_margin": [0.5, 1]})
    assert [run.name for run in runs] == [
        "threshold-0.6",
        "threshold-0.9",
        "margin-min_margin-0.5",
        "margin-min_margin-1",
    ]


def test_one_value_names_nothing() -> None:
    (run,) = grid_runs(["llada"], {"steps": [8], "temperature": 0.5})
    assert (run.name, run.settings["steps"]) == ("llada", 8)


@pytest.fixture
def stranger(monkeypatch: pytest.MonkeyPatch) -> str:
    folder = Path(__file__).parents[1] / "policies" / "strangers"
    monkeypatch.syspath_prepend(str(folder))
    return "threshold_policy:ThresholdPolicy"


def test_each_policy_takes_the_options_that_it_has(stranger: str) -> None:
    runs = grid_runs(["llada", stranger], {"threshold": [0.5, 0.9], "remasking": "random"})
    assert [run.settings for run in runs] == [
        {"policy": "llada", "remasking": "random"},
        {"policy": stranger, "threshold": 0.5},
        {"policy": stranger, "threshold": 0.9},
    ]
    assert runs[2].name == "threshold_policy-ThresholdPolicy-threshold-0.9"


def test_settings_of_the_run_go_everywhere(stranger: str) -> None:
    runs = grid_runs(["llada", stranger], {"record": "masked", "dtype": "float32"})
    assert all(run.settings["record"] == "masked" for run in runs)
    assert all(run.settings["dtype"] == "float32" for run in runs)


@pytest.mark.parametrize(
    ("policies", "values", "error", "said"),
    [
        (["lada"], {}, UnknownNameError, "Did you mean 'llada'?"),
        (["no.such:Policy"], {}, PluginError, "cannot be imported"),
        (["llada", "llada"], {}, ConfigError, "policy llada: given twice"),
        (["llada"], {"treshold": [1]}, ConfigError, "unknown setting treshold"),
        (["llada"], {"steps": [4, 4]}, ConfigError, "steps 4: given twice"),
        (["llada"], {"temperature": [0, 0.0]}, ConfigError, "temperature 0.0: given twice"),
        (["llada"], {"steps": []}, ConfigError, "steps: no value"),
        (["llada"], {"steps": [4, 0]}, ConfigError, "steps is 0; it must be at least 1"),
        (["llada"], {"steps": [4, "8"]}, ConfigError, "steps is '8'"),
        (["llada"], {"remasking": ["random", "no"]}, ConfigError, "remasking is 'no'; use one of"),
        (["llada"], {"record": ["all", "masked"]}, ConfigError, "record has 2 values"),
        (["llada"], {"topk": 0}, ConfigError, "topk is 0"),
    ],
)
def test_what_is_refused(
    policies: list[str], values: dict[str, Any], error: type[Exception], said: str
) -> None:
    with pytest.raises(error) as caught:
        grid_runs(policies, values)
    assert said in str(caught.value)


WORDY = """
from dataclasses import dataclass
from threshold_policy import ThresholdOptions, ThresholdPolicy
from diffengine.engine.options import option

@dataclass(frozen=True)
class Options(ThresholdOptions):
    word: str = option("", "A word.")

class Wordy(ThresholdPolicy):
    Options = Options
"""


def test_two_runs_never_share_a_folder(
    stranger: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "wordy.py").write_text(WORDY)
    monkeypatch.syspath_prepend(str(tmp_path))
    with pytest.raises(ConfigError, match="would share the folder wordy-Wordy-word-a-b"):
        grid_runs(["wordy:Wordy"], {"word": ["a/b", "a b"]})
    assert folder_name("a b", "c/d") == "a-b-c-d"
    assert folder_name("../..") == "run"


def test_the_exact_run_differs_in_the_rule_alone(stranger: str) -> None:
    settings = {"policy": stranger, "threshold": 0.9, "record": "masked", "cfg_scale": 1.5}
    config = RunConfig.of(model="m", **settings, gen_length=16, steps=5)
    assert exact_settings(config, settings, published="llada") == {
        "policy": "llada",
        "record": "masked",
        "cfg_scale": 1.5,
        "gen_length": 16,
        "steps": 16,
    }


def test_a_parallel_policy_is_measured_from_llada_whatever_the_family() -> None:
    settings = {"policy": "threshold", "threshold": 0.9, "temperature": 0.4, "seed": 2}
    config = RunConfig.of(model="m", **settings, gen_length=16, block_length=8)
    exact = exact_settings(config, settings, published="dream")
    assert exact == {
        "policy": "llada",
        "gen_length": 16,
        "steps": 16,
        "block_length": 8,
        "temperature": 0.4,
        "seed": 2,
    }


def test_the_published_policy_is_measured_from_itself() -> None:
    settings = {"policy": "dream", "alg": "entropy", "steps": 4}
    config = RunConfig.of(model="m", **settings, gen_length=16)
    exact = exact_settings(config, settings, published="dream")
    assert (exact["policy"], exact["alg"], exact["steps"]) == ("dream", "entropy", 16)


def test_the_exact_run_of_the_default_policy_keeps_its_options() -> None:
    settings = {"policy": "llada", "steps": 4, "block_length": 4, "temperature": 0.7, "seed": 3}
    config = RunConfig.of(model="m", **settings, gen_length=8)
    exact = exact_settings(config, settings, published="llada")
    assert (exact["steps"], exact["block_length"], exact["seed"]) == (8, 4, 3)
    assert exact["temperature"] == 0.7


def test_a_preset_stands_below_what_is_given() -> None:
    """Its policy where none is given; else of its settings those that the policies have."""
    name = "llada-8b-base-gsm8k"
    preset = find(name)
    policies, values = on_preset(name, [], {"temperature": [0.0, 0.5]})
    assert policies == ["llada"]
    assert values["temperature"] == [0.0, 0.5]
    assert values["gen_length"] == preset.settings["gen_length"]

    policies, values = on_preset(name, ["threshold"], {"threshold": [0.7, 0.9]})
    assert policies == ["threshold"]
    assert "remasking" not in values and "policy" not in values
    made = grid_runs(policies, values)
    assert [run.settings["threshold"] for run in made] == [0.7, 0.9]
    assert made[0].settings["block_length"] == preset.settings["block_length"]


def test_lengths_on_a_preset_bring_their_steps() -> None:
    name = "llada-8b-base-gsm8k"
    assert find(name).settings["steps"] == find(name).settings["gen_length"]
    _, values = on_preset(name, [], {"gen_length": [64, 128]})
    assert "steps" not in values
    _, values = on_preset(name, [], {"gen_length": 64})
    assert values["steps"] == 64
    with pytest.raises(UnknownNameError, match="Did you mean"):
        on_preset("llada-8b-base-gsm8", [], {})
