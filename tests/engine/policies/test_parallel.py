"""The parallel policies against their rules written out slowly, at every step; alone and in any
batch."""

from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from diffengine.engine.config import RunConfig
from diffengine.engine.models.loading import MaskedDiffusionModel, load_model
from diffengine.engine.runs.run import BUNDLED

sys.path.append(str(Path(__file__).parent))
from parallel_twin import twin

GRID: dict[str, dict[str, Any]] = {
    "threshold": {"policy": "threshold", "block_length": 6},
    "threshold, low": {"policy": "threshold", "threshold": 0.5, "block_length": 12},
    "threshold, warm": {"policy": "threshold", "threshold": 0.4, "temperature": 0.8},
    "threshold, bounded": {"policy": "threshold", "steps": 3, "block_length": 4},
    "threshold of nothing": {"policy": "threshold", "threshold": 0.0, "block_length": 3},
    "factor": {"policy": "factor", "block_length": 6},
    "factor, high": {"policy": "factor", "factor": 1.8, "block_length": 12},
    "factor, last taken": {"policy": "factor", "take_last": True, "block_length": 4},
    "factor, warm": {"policy": "factor", "factor": 2.5, "temperature": 0.6, "block_length": 4},
    "entropy": {"policy": "entropy_threshold", "block_length": 6},
    "entropy, high": {"policy": "entropy_threshold", "max_entropy": 2.0, "block_length": 12},
    "entropy, warm": {"policy": "entropy_threshold", "temperature": 1.2, "block_length": 4},
    "bound": {"policy": "entropy_bound", "block_length": 6},
    "bound, high": {"policy": "entropy_bound", "bound": 3.0, "block_length": 12},
    "bound by confidence": {"policy": "entropy_bound", "order": "confidence", "block_length": 6},
    "bound by confidence, warm": {
        "policy": "entropy_bound",
        "order": "confidence",
        "bound": 2.6,
        "temperature": 0.7,
    },
    "margin": {"policy": "margin", "block_length": 6},
    "margin, low": {"policy": "margin", "min_margin": 0.2, "block_length": 12},
    "margin, warm": {
        "policy": "margin",
        "min_margin": 0.5,
        "temperature": 0.7,
        "block_length": 4,
    },
    "klass": {"policy": "klass", "confidence_threshold": 0.6, "block_length": 6},
    "klass, eager": {
        "policy": "klass",
        "kl_threshold": 1.0,
        "confidence_threshold": 0.1,
        "history": 1,
        "block_length": 4,
    },
    "klass, long memory": {
        "policy": "klass",
        "kl_threshold": 0.3,
        "confidence_threshold": 0.3,
        "history": 3,
        "block_length": 12,
    },
    "klass, few steps": {
        "policy": "klass",
        "kl_threshold": 0.5,
        "confidence_threshold": 0.2,
        "steps": 8,
        "block_length": 6,
    },
    "klass, warm": {
        "policy": "klass",
        "kl_threshold": 0.5,
        "confidence_threshold": 0.1,
        "temperature": 0.5,
        "block_length": 6,
    },
    "prophet": {"policy": "prophet", "gap_early": 3.0, "gap_middle": 2.0, "gap_late": 1.0},
    "prophet, published": {"policy": "prophet", "block_length": 4, "steps": 6},
    "prophet, late": {
        "policy": "prophet",
        "answer_start": 8,
        "answer_length": 9,
        "gap_early": 99.0,
        "gap_middle": 99.0,
        "gap_late": 0.0,
        "block_length": 6,
        "steps": 10,
    },
    "prophet, committed answer": {
        "policy": "prophet",
        "answer_start": 0,
        "answer_length": 3,
        "gap_early": 99.0,
        "gap_middle": 6.0,
        "gap_late": 2.0,
        "block_length": 4,
    },
    "prophet, warm": {
        "policy": "prophet",
        "gap_early": 5.0,
        "gap_middle": 2.0,
        "gap_late": 0.5,
        "temperature": 0.6,
        "answer_start": 0,
        "answer_length": 2,
    },
}


def config_of(changes: dict[str, Any]) -> RunConfig:
    return RunConfig.of(**{"model": "m", "gen_length": 12} | changes)


def assert_twins(
    columns: dict[str, Any], states: list[list[int]], config: RunConfig, question: str
) -> None:
    n = len(states)
    assert columns["token"][:n].tolist() == states, question
    assert (columns["token"][n:] == columns["token"][n - 1]).all()
    assert columns["performed"].tolist() == [1] * n + [0] * (config.steps - n)
    assert columns["n_forwards"] == n


@pytest.mark.parametrize("which", ["random_model", "bundled_model"])
@pytest.mark.parametrize("name", list(GRID))
def test_every_step_is_the_rules(
    name: str,
    which: str,
    request: pytest.FixtureRequest,
    packed: Callable[..., Any],
    prompts_of: Any,
) -> None:
    model = request.getfixturevalue(which)
    config = config_of(GRID[name])
    prompts = prompts_of(model, config.gen_length)
    columns = packed(model, config, prompts)
    for prompt in prompts:
        states = twin(model, config, prompt)
        assert_twins(columns[prompt.problem.id], states, config, prompt.problem.question)


@pytest.mark.parametrize("name", ["threshold", "factor", "bound by confidence", "prophet"])
def test_with_eight_bits_where_ties_are_everywhere(
    name: str, packed: Callable[..., Any], prompts_of: Any
) -> None:
    model = load_model(BUNDLED, device="cpu", dtype="bfloat16")
    config = config_of(GRID[name]).changed(dtype="bfloat16")
    prompts = prompts_of(model, config.gen_length)
    columns = packed(model, config, prompts)
    for prompt in prompts:
        states = twin(model, config, prompt)
        assert_twins(columns[prompt.problem.id], states, config, prompt.problem.question)


@pytest.mark.parametrize("name", ["threshold", "factor", "bound, high", "klass, eager", "prophet"])
def test_where_predictions_stand_one_position_before(
    name: str, random_model: MaskedDiffusionModel, packed: Callable[..., Any], prompts_of: Any
) -> None:
    shifted = replace(random_model.family, read_offset=-1)
    model = replace(random_model, family=shifted)
    config = config_of(GRID[name])
    prompts = prompts_of(model, config.gen_length)
    columns = packed(model, config, prompts)
    for prompt in prompts:
        states = twin(model, config, prompt)
        assert_twins(columns[prompt.problem.id], states, config, prompt.problem.question)


SAME = ("token", "committed", "performed", "n_forwards", "n_masked")
FLOATS = ("logprob", "entropy", "kl", "cka", "state_masked", "answer_logprob")


@pytest.mark.parametrize(
    "name",
    [
        "threshold, warm",
        "factor",
        "entropy",
        "bound",
        "bound by confidence, warm",
        "margin, warm",
        "klass",
        "klass, eager",
        "prophet",
    ],
)
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
            for column in SAME:
                assert np.array_equal(columns[column], other[key][column]), column
            for column in FLOATS:
                np.testing.assert_allclose(
                    columns[column], other[key][column], atol=1e-5, rtol=1e-5, err_msg=column
                )


@pytest.mark.parametrize("name", ["threshold", "bound", "klass", "prophet, committed answer"])
def test_what_is_recorded_of_committed_positions_changes_no_token(
    name: str, bundled_model: MaskedDiffusionModel, packed: Callable[..., Any], prompts_of: Any
) -> None:
    config = config_of(GRID[name])
    prompts = prompts_of(bundled_model, config.gen_length)
    whole = packed(bundled_model, config, prompts, budget=200)
    masked = packed(bundled_model, config.changed(record="masked"), prompts, budget=200)
    for key, columns in whole.items():
        for column in SAME:
            assert np.array_equal(columns[column], masked[key][column]), column
        is_masked = ~np.isnan(masked[key]["entropy"])
        assert (is_masked.sum(-1) == columns["n_masked"].clip(0)).all()
        np.testing.assert_array_equal(
            columns["entropy"][is_masked], masked[key]["entropy"][is_masked]
        )
