"""When finished problems become a shard, and what its columns and its sum then hold."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from diffengine.engine.config import RunConfig
from diffengine.engine.decoding.recorder import Finished
from diffengine.engine.problems.read import Problem
from diffengine.engine.runs import gather
from diffengine.engine.runs.execution import Limits
from diffengine.engine.runs.gather import Gathering, sum_bytes

CONFIG = RunConfig.of(model="m", steps=2, gen_length=3, block_length=3)
WIDTH = 4
SUM = 2 * 3 * WIDTH * 4


def finished(name: str, *, n_answer: int = 1, weight: int = 0) -> Finished:
    """A problem of a few columns; `weight` bytes are added to it."""
    columns = {
        "problem_id": name,
        "state_masked": np.zeros((2, WIDTH), np.float32),
        "answer_token_id": np.arange(n_answer, dtype=np.int32),
        "answer_logprob": np.zeros((2, 3, n_answer), np.float32),
        "token": np.zeros(weight, np.uint8),
    }
    return Finished(Problem(name, "", None), columns)


def one() -> np.ndarray:
    return np.ones((2, 3, WIDTH), np.float32)


def gathered(limits: Limits, problems: list[Finished]) -> tuple[list[dict[str, Any]], Gathering]:
    shards: list[dict[str, Any]] = []
    gathering = Gathering(shards.append, limits, blocks=[0, 0])
    for problem in problems:
        gathering.add(problem, one)
    return shards, gathering


def test_a_shard_is_full_or_old_however_large_its_sum() -> None:
    """At LLaDA-8B's shape the sum outweighs sixty problems; they wait for no more than a minute all
    the same."""
    assert sum_bytes(CONFIG, WIDTH) == SUM
    light = [finished(f"p{i}") for i in range(5)]
    assert [len(s["problem_id"]) for s in gathered(Limits(2, 10**9, 60.0), light)[0]] == [2, 2]
    heavy = [finished(f"p{i}", weight=5 * SUM) for i in range(5)]
    assert [len(s["problem_id"]) for s in gathered(Limits(99, 11 * SUM, 60.0), heavy)[0]] == [2, 2]


def test_a_shard_is_made_of_arrays_that_are_there() -> None:
    """On CUDA they arrive while the next step runs: until `ready()` has returned they hold
    anything."""
    late = finished("late")
    states = late.columns["state_masked"]
    states.fill(np.nan)
    shards, gathering = gathered(
        Limits(10, 10**9, 60.0), [late._replace(ready=lambda: states.fill(7))]
    )
    assert np.isnan(states).all()
    gathering.flush()
    assert (shards[0]["state_masked"] == 7).all()


def test_what_finished_is_published_within_a_minute_though_nobody_else_finishes(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    now = [1000.0]
    monkeypatch.setattr(gather.time, "monotonic", lambda: now[0])
    shards: list[dict[str, Any]] = []
    gathering = Gathering(shards.append, Limits(99, 10**9, 60.0), blocks=[0, 0])
    gathering.publish_if_due(one)  # nothing is pending
    gathering.add(finished("a"), one)
    for age, expected in ((0.0, 0), (59.0, 0), (61.0, 1), (200.0, 1)):
        now[0] = 1000.0 + age
        gathering.publish_if_due(one)
        assert len(shards) == expected
    now[0] = 5000.0
    gathering.add(finished("b"), one)  # its age counts from its own entering
    assert len(shards) == 1
    now[0] = 5061.0
    gathering.add(finished("c"), one)
    assert [s["problem_id"] for s in shards] == [["a"], ["b", "c"]]


def test_a_shard_has_the_sum_of_its_own_problems_and_of_no_others() -> None:
    shards: list[dict[str, Any]] = []
    gathering = Gathering(shards.append, Limits(99, 10**9, 60.0), blocks=[0, 0])
    gathering.add(finished("a"), one)
    gathering.add_sum(one())  # a batch ends
    gathering.add(finished("b"), one)
    gathering.add_sum(2 * one())
    gathering.add_sum(None)
    gathering.flush()
    gathering.flush()
    gathering.add(finished("c"), one)
    gathering.add_sum(one())
    gathering.flush()
    assert [s["problem_id"] for s in shards] == [["a", "b"], ["c"]]
    assert [float(s["hidden_sum"][0, 0, 0]) for s in shards] == [3.0, 1.0]


def test_answers_of_different_batches_are_padded_to_the_longest() -> None:
    shards: list[dict[str, Any]] = []
    gathering = Gathering(shards.append, Limits(99, 10**9, 60.0), blocks=[0, 0])
    for name, length in (("a", 1), ("b", 3)):
        gathering.add(finished(name, n_answer=length), one)
    gathering.flush()
    assert shards[0]["answer_token_id"].tolist() == [[0, -1, -1], [0, 1, 2]]
    assert np.isnan(shards[0]["answer_logprob"][0, :, :, 1:]).all()
    assert not np.isnan(shards[0]["answer_logprob"][0, :, :, 0]).any()
