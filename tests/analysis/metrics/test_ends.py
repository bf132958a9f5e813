"""Problems that end at steps of their own: what stays, what does not, worked out by hand and by slow
twins."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy.stats import spearmanr

from diffengine.analysis.metrics.block import Block, kept_after_end, read_block
from diffengine.analysis.metrics.ends import ends
from diffengine.analysis.metrics.events import events
from diffengine.analysis.metrics.trajectories import read_trajectories
from diffengine.analysis.registry import METRICS

_spec = importlib.util.spec_from_file_location(
    "ended_runs", Path(__file__).parents[1].joinpath("ended_runs.py")
)
assert _spec is not None and _spec.loader is not None
ended = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(ended)

Columns = dict[str, np.ndarray]
NAN = np.nan
ENDS = (2, 5, 0, 3)
STEPS = 8


@pytest.fixture
def columns(make_columns: Callable[..., Columns]) -> Columns:
    whole = make_columns(4, STEPS, 8, answer=[[5, 6], [5], [6], [5]])
    rng = np.random.default_rng(3)
    whole["prediction"] = rng.integers(4, 7, whole["prediction"].shape).astype(np.int32)
    whole["token"] = rng.integers(4, 7, whole["token"].shape).astype(np.int32)
    whole["answer_start"][:], whole["answer_end"][:] = 5, 7
    result: Columns = ended.end_at(whole, ENDS)
    return result


def run_of(make_run: Callable[..., Any], columns: Columns) -> Any:
    run = make_run(4, STEPS, 8)
    run._columns = columns | {"block": run["block"]}
    return run


def test_kept_after_the_end_and_not_in_between() -> None:
    performed = np.array([[1, 0, 1, 0], [1, 1, 1, 1], [0, 0, 0, 0]], bool)
    values = np.array([[1, NAN, 3, NAN], [1, 2, 3, 4], [NAN] * 4])
    expected = [[1, NAN, 3, 3], [1, 2, 3, 4], [NAN] * 4]
    np.testing.assert_array_equal(kept_after_end(values, performed), expected)


@pytest.mark.parametrize("name", METRICS)
def test_what_stands_is_kept_and_a_pass_has_no_value_after_the_end(
    name: str, columns: Columns, make_run: Callable[..., Any]
) -> None:
    metric = METRICS.load(name)
    of_block = metric.function(read_block(columns))
    whole = read_trajectories(run_of(make_run, columns)).metrics[name]
    last = max(ENDS)
    for row, end in enumerate(ENDS):
        np.testing.assert_array_equal(whole[row, : end + 1], of_block[row, : end + 1])
        rest = whole[row, end + 1 : last + 1]
        expected = of_block[row, end] if metric.kept else NAN
        np.testing.assert_array_equal(rest, np.full(len(rest), expected))
    assert np.isnan(whole[:, last + 1 :]).all(), "the run has no step behind the last end"


def test_only_what_is_about_an_answer_is_kept() -> None:
    kept = {name for name in METRICS if METRICS.load(name).kept}
    about_a_pass = {
        name for name in METRICS if name.startswith(("entropy/", "kl/", "cka/", "canvas/"))
    }
    assert not kept & about_a_pass
    assert {"confidence/answer_slot", "emergence/first_hit", "emergence/settled"} <= kept
    assert not kept & {"confidence/softmax_sum", "confidence/max_prob", "answer/largest_kl"}


def test_distribution_functions_never_fall_whatever_ends_when(
    columns: Columns, make_run: Callable[..., Any]
) -> None:
    metrics = read_trajectories(run_of(make_run, columns)).metrics
    for name in ("emergence/first_hit", "emergence/stable_hit", "emergence/settled"):
        of_run = metrics[name][:, : max(ENDS) + 1]
        assert np.isfinite(of_run).all()
        assert (np.diff(of_run.mean(axis=0)) >= 0).all()
    assert (metrics["emergence/settled"][:, max(ENDS)] == 1).all()


def test_a_step_without_a_pass_says_nothing_new() -> None:
    """Three steps, one answer position; the second step had no pass, the last one commits."""
    columns = {
        "performed": np.array([[1, 0, 1, 0]]),
        "committed": np.array([[[0], [0], [1], [0]]]),
        "token": np.array([[[99], [99], [7], [7]]]),
        "prediction": np.array([[[7], [-1], [7], [-1]]]),
        "answer_token_id": np.array([[7]]),
        "answer_start": np.array([0]),
        "answer_end": np.array([1]),
    }
    block = read_block(columns)
    assert block.guess[0, :, 0].tolist() == [7, 7, 7, 7]
    happened = events(block, block_length=0)
    assert happened.guess_changes.tolist() == [0] and happened.settled_step.tolist() == [0]
    columns["performed"][0, 0] = 0
    columns["prediction"][0, 0] = -1
    block = read_block(columns)
    assert block.guess[0, :, 0].tolist() == [-1, -1, 7, 7]
    assert events(block, block_length=0).guess_changes.tolist() == [0], "nothing said is no guess"


def test_ends_by_hand(columns: Columns) -> None:
    ended.leave_masked(columns, 0, [0, 6])
    found = ends(read_block(columns))
    assert found.end_step.tolist() == list(ENDS)
    assert found.steps_performed.tolist() == [end + 1 for end in ENDS]
    assert found.masks_left.tolist() == [2, 0, 0, 0]
    commits = columns["committed"].argmax(axis=1)
    expected = [-1, *(max(commits[row, 5], commits[row, 6]) for row in (1, 2, 3))]
    assert found.answer_commit_step.tolist() == expected


def block_of(commit: list[list[int]], steps: int) -> Block:
    """Commit steps of each position, -1 for never; no answer."""
    commits = np.array(commit)
    committed = np.arange(steps)[None, :, None] == commits[:, None, :]
    shape = committed.shape
    columns = {
        "performed": np.ones(shape[:2], np.uint8),
        "committed": committed,
        "token": np.zeros(shape, np.int32),
        "prediction": np.zeros(shape, np.int32),
        "answer_token_id": np.full((len(commits), 1), -1),
        "answer_start": np.full(len(commits), -1),
        "answer_end": np.full(len(commits), -1),
    }
    return read_block(columns)


def test_order_where_several_commit_at_a_step_and_some_never() -> None:
    commit = [[0, 1, 2, 3], [0, 0, 1, 1], [2, 2, 2, 2], [1, -1, 0, -1], [-1, -1, -1, 3]]
    found = events(block_of(commit, 4), block_length=2)
    pairs = [1, 1 - 4 / 12, 0, 1, NAN]
    np.testing.assert_allclose(found.ordered_pairs, pairs)
    expected = [1, spearmanr([0, 0, 1, 1], range(4)).statistic, NAN, -1, NAN]
    np.testing.assert_allclose(found.commit_order, expected)


def test_no_order_within_blocks_without_blocks() -> None:
    block = block_of([[0, 1, 2, 3], [3, 2, 1, 0]], 4)
    assert np.isnan(events(block, block_length=0).commit_order_in_block).all()
    assert events(block, block_length=2).commit_order_in_block.tolist() == [1, -1]
