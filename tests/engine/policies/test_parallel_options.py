"""What the parallel policies may be asked for, and what is said of what they may not."""

from __future__ import annotations

from typing import Any

import pytest

from diffengine.engine.config import ConfigError, RunConfig, resolve
from diffengine.engine.policies import POLICIES, options_class
from diffengine.engine.policies.parallel_options import ParallelOptions, ProphetOptions

PARALLEL = [name for name in POLICIES if issubclass(options_class(name), ParallelOptions)]
OF_CHECKPOINT = {"steps": 8, "gen_length": 48, "block_length": 8, "temperature": 0.5}


def resolved(name: str, checkpoint: dict[str, Any], **given: Any) -> Any:
    settings = {"policy": name} | given
    return resolve(settings, checkpoint=checkpoint, model="m", dtype="float32").sampler


@pytest.mark.parametrize("name", PARALLEL)
def test_a_row_may_take_a_step_for_each_token_unless_somebody_says_less(name: str) -> None:
    assert resolved(name, {}).steps == 128
    of_checkpoint = resolved(name, OF_CHECKPOINT)
    assert (of_checkpoint.steps, of_checkpoint.gen_length) == (48, 48)
    assert (of_checkpoint.block_length, of_checkpoint.temperature) == (8, 0.5)
    assert resolved(name, OF_CHECKPOINT, gen_length=24).steps == 24
    assert resolved(name, OF_CHECKPOINT, steps=12).steps == 12
    assert resolved(name, {}, gen_length=24).block_length == 24


@pytest.mark.parametrize("name", PARALLEL)
def test_more_steps_than_tokens_are_refused(name: str) -> None:
    with pytest.raises(ConfigError, match="steps is 13, gen_length 12; .* use 12 or fewer"):
        RunConfig.of(model="m", policy=name, gen_length=12, steps=13)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"policy": "threshold", "block_length": 5}, "block_length 5 does not divide gen_length"),
        ({"policy": "threshold", "threshold": float("nan")}, "threshold is nan; it must be a fin"),
        ({"policy": "factor", "factor": float("inf")}, "factor is inf; it must be a finite number"),
        ({"policy": "entropy_bound", "order": "margin"}, "use one of entropy, confidence"),
        ({"policy": "klass", "steps": 5, "block_length": 6}, "is not a multiple of the 2 blocks"),
        ({"policy": "klass", "history": 0}, "history is 0; it must be at least 1"),
        ({"policy": "prophet", "steps": 5, "block_length": 6}, "is not a multiple of the 2 blocks"),
        ({"policy": "prophet", "answer_start": 12}, "answer_start is 12, gen_length 12; use 11"),
        ({"policy": "prophet", "answer_start": -1}, "it must be finite and not negative"),
        ({"policy": "prophet", "answer_length": 0}, "answer_length is 0; it must be at least 1"),
        ({"policy": "threshold", "factor": 1.0}, "unknown setting factor; with policy threshold"),
    ],
)
def test_what_cannot_be_is_said(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        RunConfig.of(model="m", gen_length=12, **settings)


def test_prophet_looks_where_the_published_evaluation_does() -> None:
    assert ProphetOptions(steps=256, gen_length=256, block_length=32).answer == slice(204, 209)
    at_the_end = ProphetOptions(steps=8, gen_length=8, block_length=8, answer_start=6)
    assert at_the_end.answer == slice(6, 8)
