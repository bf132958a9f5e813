"""A threshold that nothing reaches gives one token a step, and then exactly the run of the exact
sampler: every token and every number, bit by bit."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from diffengine.engine.config import RunConfig
from diffengine.engine.models.loading import MaskedDiffusionModel
from diffengine.engine.policies import POLICIES, options_class
from diffengine.engine.policies.parallel_options import ParallelOptions

BY_ENTROPY = {"policy": "ordered_policy:OrderedPolicy", "by": "entropy"}
BY_MARGIN = {"policy": "ordered_policy:OrderedPolicy", "by": "margin"}
LIMITS: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {
    "threshold": ({"threshold": 1.1}, {}),
    "factor": ({"factor": -1.0}, {}),
    "entropy_threshold": ({"max_entropy": -1.0}, BY_ENTROPY),
    "entropy_bound": ({"bound": -1.0}, BY_ENTROPY),
    "entropy_bound by confidence": ({"bound": -1.0, "order": "confidence"}, {}),
    "margin": ({"min_margin": 1.1}, BY_MARGIN),
    "klass": ({"confidence_threshold": 1.0}, {}),
    "klass, unstable": ({"kl_threshold": -1.0}, {}),
    "prophet": ({"gap_early": 1e6, "gap_middle": 1e6, "gap_late": 1e6}, {}),
}
"""Options that nothing reaches, and what makes the exact run of it where that is not LLaDA's."""

EXACT: dict[str, Any] = {"policy": "llada", "gen_length": 12, "steps": 12, "block_length": 4}
WAYS: dict[str, dict[str, Any]] = {
    "greedy": {},
    "one block": {"block_length": 12},
    "warm": {"temperature": 0.7, "seed": 3},
    "masked positions alone": {"record": "masked"},
    "hidden states": {"save_logits": "hidden"},
}
CLOCK = {"seconds"}


@pytest.fixture(autouse=True)
def strangers(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(Path(__file__).parent / "strangers"))


def test_every_parallel_policy_has_its_limit() -> None:
    parallel = {name for name in POLICIES if issubclass(options_class(name), ParallelOptions)}
    assert {name.split()[0].rstrip(",") for name in LIMITS} == parallel


def assert_equal_runs(one: dict[str, Any], two: dict[str, Any]) -> None:
    for key, columns in one.items():
        assert columns.keys() == two[key].keys()
        for name in columns.keys() - CLOCK:
            np.testing.assert_array_equal(columns[name], two[key][name], err_msg=f"{key} {name}")


@pytest.mark.parametrize(
    ("way", "which"), [*((way, "bundled_model") for way in WAYS), ("greedy", "random_model")]
)
@pytest.mark.parametrize("name", list(LIMITS))
def test_the_limit_is_the_exact_run(
    name: str,
    way: str,
    which: str,
    request: pytest.FixtureRequest,
    packed: Callable[..., Any],
    prompts_of: Any,
) -> None:
    model = request.getfixturevalue(which)
    options, of_exact = LIMITS[name]
    policy = name.split()[0].rstrip(",")
    exact = RunConfig.of(model="m", **(EXACT | WAYS[way] | of_exact))
    limit = RunConfig.of(model="m", **(EXACT | WAYS[way] | options | {"policy": policy}))
    prompts = prompts_of(model, 12)
    assert_equal_runs(
        packed(model, limit, prompts, budget=200), packed(model, exact, prompts, budget=200)
    )


@pytest.mark.parametrize("name", ["klass", "klass, unstable", "prophet"])
@pytest.mark.parametrize("steps", [3, 6, 9])
def test_with_fewer_steps_it_is_the_schedule_of_as_many(
    name: str,
    steps: int,
    bundled_model: MaskedDiffusionModel,
    packed: Callable[..., Any],
    prompts_of: Any,
) -> None:
    options, _ = LIMITS[name]
    exact = RunConfig.of(model="m", **(EXACT | {"steps": steps}))
    limit = exact.as_dict() | options | {"policy": name.split(",")[0]}
    for option in (
        "cfg_scale",
        "remasking",
        "logits_eos_inf",
        "confidence_eos_eot_inf",
        "numerics",
    ):
        del limit[option]
    prompts = prompts_of(bundled_model, 12)
    assert_equal_runs(
        packed(bundled_model, RunConfig.of(**limit), prompts), packed(bundled_model, exact, prompts)
    )
