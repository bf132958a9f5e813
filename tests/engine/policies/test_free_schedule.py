"""A policy whose rows end when the device says so, against a slow twin at batch size one; and a run
of it from decoding to analysis."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from diffengine.analysis.analyze import analyze_run
from diffengine.engine.config import RunConfig
from diffengine.engine.models.attention import packing_of
from diffengine.engine.models.loading import MaskedDiffusionModel
from diffengine.engine.prompts.prompt import Prompt
from diffengine.engine.runs.run import run
from diffengine.engine.store import open_run, verify_run

POLICY = "threshold_policy:ThresholdPolicy"
GRID: dict[str, dict[str, Any]] = {
    "sure": {"threshold": 0.9},
    "one at a time": {"threshold": 1.0},
    "all at once": {"threshold": 0.0},
    "stopped with masks left": {"threshold": 0.6, "enough": 0.5},
    "the bound ends it": {"threshold": 1.0, "steps": 5},
    "guided": {"threshold": 0.8, "cfg_scale": 0.7},
    "masked positions alone": {"threshold": 0.7, "record": "masked"},
}


@pytest.fixture(autouse=True)
def strangers(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(Path(__file__).parent / "strangers"))


def config_of(changes: dict[str, Any]) -> RunConfig:
    return RunConfig.of(**{"model": "m", "policy": POLICY, "gen_length": 12, "steps": 12} | changes)


def twin(model: MaskedDiffusionModel, config: RunConfig, prompt: Prompt) -> list[list[int]]:
    """The generated tokens after each step of one problem alone, position by position."""
    options: Any = config.sampler
    mask = model.token_ids.mask
    start = len(prompt.token_ids)
    canvas = [*prompt.token_ids, *[mask] * config.gen_length]
    states: list[list[int]] = []
    while len(states) < config.steps and mask in canvas[start:]:
        logits = logits_of(model, canvas)
        if options.cfg_scale:
            blind = logits_of(model, [mask] * start + canvas[start:])
            logits = blind + (options.cfg_scale + 1) * (logits - blind)
        proposable = logits.clone()
        proposable[:, mask] = -torch.inf
        proposable[:, model.n_candidates :] = -torch.inf
        token = proposable.argmax(-1).tolist()
        confidence = logits.float().softmax(-1)
        sure = {
            place: float(confidence[place, token[place]])
            for place in range(start, len(canvas))
            if canvas[place] == mask
        }
        surest = min(sure, key=lambda place: (-sure[place], place))
        for place, probability in sure.items():
            if place == surest or probability >= options.threshold:
                canvas[place] = token[place]
        states.append(canvas[start:])
        if config.gen_length - states[-1].count(mask) >= options.enough * config.gen_length:
            break
    return states


def logits_of(model: MaskedDiffusionModel, canvas: list[int]) -> torch.Tensor:
    ids = torch.tensor(canvas)
    hidden = model.hidden(ids, torch.arange(len(ids)), packing_of([len(ids)], model.device))
    return hidden @ model.head_weight.T


@pytest.mark.parametrize("name", list(GRID))
def test_tokens_and_number_of_forwards_are_the_twins(
    name: str, bundled_model: MaskedDiffusionModel, packed: Callable[..., Any], prompts_of: Any
) -> None:
    config = config_of(GRID[name])
    prompts = prompts_of(bundled_model, config.gen_length)
    columns = packed(bundled_model, config, prompts)
    lengths = set()
    for prompt in prompts:
        mine = columns[prompt.problem.id]
        states = twin(bundled_model, config, prompt)
        n = len(states)
        lengths.add(n)
        assert mine["token"][:n].tolist() == states, prompt.problem.question
        assert (mine["token"][n:] == mine["token"][n - 1]).all()
        assert mine["performed"].tolist() == [1] * n + [0] * (config.steps - n)
        assert mine["n_forwards"] == n * (2 if config.guided else 1)
        assert (mine["committed"].sum(-1)[n:] == 0).all()
        assert np.isnan(mine["entropy"][n:]).all() and (mine["n_masked"][n:] == -1).all()
    if name == "sure":
        assert len(lengths) > 1, "the rows should end at different steps"
    if name == "all at once":
        assert lengths == {1}
    if name == "the bound ends it":
        assert lengths == {5}
    if name == "stopped with masks left":
        mask = bundled_model.token_ids.mask
        assert all((c["token"][-1] == mask).any() for c in columns.values())


FLOATS = ("logprob", "entropy", "kl", "cka", "state_masked", "answer_logprob")


@pytest.mark.parametrize("name", ["sure", "stopped with masks left", "masked positions alone"])
def test_a_problem_is_the_same_alone_in_any_batch_and_with_or_without_refill(
    name: str, bundled_model: MaskedDiffusionModel, packed: Callable[..., Any], prompts_of: Any
) -> None:
    config = config_of(GRID[name])
    prompts = prompts_of(bundled_model, config.gen_length)
    together = packed(bundled_model, config, prompts)
    alone = {p.problem.id: packed(bundled_model, config, [p])[p.problem.id] for p in prompts}
    narrow = packed(bundled_model, config, prompts[::-1], budget=200)
    waiting = packed(bundled_model, config, prompts[2:] + prompts[:2], budget=200, refill=False)
    for other in (alone, narrow, waiting):
        for key, columns in together.items():
            for column in ("token", "committed", "performed", "n_forwards", "n_masked"):
                assert np.array_equal(columns[column], other[key][column]), column
            for column in FLOATS:
                np.testing.assert_allclose(
                    columns[column], other[key][column], atol=1e-5, rtol=1e-5, err_msg=column
                )


def test_a_run_opens_verifies_goes_on_and_is_analysed(
    tmp_path: Path, bundled_model: MaskedDiffusionModel
) -> None:
    settings: dict[str, Any] = {
        "policy": POLICY, "gen_length": 48, "steps": 48, "threshold": 0.9, "enough": 0.9, "save_logits": "hidden",
    }  # fmt: skip
    out = tmp_path / "run"
    run("generated:24", out=out, model=bundled_model, limit=10, **settings)
    result = run("generated:24", out=out, model=bundled_model, **settings)
    assert (result.done, result.resumed) == (14, 10)

    stored = open_run(out)
    performed = stored["performed"][...]
    assert len(set(performed.sum(1).tolist())) > 1
    assert (stored["n_forwards"][...] == performed.sum(1)).all()
    assert (stored["block"][...] == -1).all()
    mask = bundled_model.token_ids.mask
    assert (stored["token"][...][:, -1] == mask).any()
    assert stored.info["config"]["threshold"] == 0.9
    (plugin,) = stored.info["plugins"]
    assert (plugin["kind"], plugin["name"]) == ("policy", POLICY)
    assert plugin["version"].startswith("sha256:")
    report = verify_run(out)
    assert report.ok, report

    analysis = analyze_run(stored)
    assert analysis.info["n_problems"] == 24
    assert analysis.info["block_length"] == 0, "it has no blocks"
    assert np.isfinite(analysis.quantities["confidence/answer_slot"].values[0])


def test_a_bound_that_leaves_masks_is_no_damage(
    tmp_path: Path, bundled_model: MaskedDiffusionModel
) -> None:
    """Of a policy of ours: the run is whole, and the same command has nothing left to do."""
    settings: dict[str, Any] = {
        "policy": "threshold", "gen_length": 12, "block_length": 12, "steps": 3, "threshold": 1.1,
    }  # fmt: skip
    out = tmp_path / "run"
    run("generated:3", out=out, model=bundled_model, **settings)
    stored = open_run(out)
    assert stored.info["schedule"] == "free" and stored.info["model"]["read_offset"] == 0
    mask = bundled_model.token_ids.mask
    assert ((stored["token"][...][:, -1] == mask).sum(axis=1) == 9).all()
    report = verify_run(out)
    assert report.ok, report
    assert run("generated:3", out=out, model=bundled_model, **settings).resumed == 3
