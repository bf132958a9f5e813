"""First and stable hits, what is lost, commit order, and the table: a trajectory worked out by hand
and slow twins."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from scipy.stats import spearmanr

from diffengine.analysis.findings.emergence import emergence_table
from diffengine.analysis.metrics import answer, emergence, events
from diffengine.analysis.metrics.block import Block, read_block

Columns = dict[str, np.ndarray]
GOLD, OTHER, MASK = 5, 6, 99


def by_hand(
    make_columns: Callable[..., Columns], guesses: list[list[int]], final: list[int]
) -> Block:
    """One position of answer in two; guesses by step, all committed at the last step; `final` what
    is committed."""
    steps = len(guesses[0])
    found = make_columns(len(guesses), steps, 2, answer=[[GOLD]] * len(guesses))
    found["committed"][:] = 0
    found["committed"][:, -1] = 1
    found["token"][:] = MASK
    found["token"][:, -1, 1] = final
    found["prediction"][:, :, 1] = guesses
    found["answer_start"][:], found["answer_end"][:] = 1, 2
    return read_block(found)


@pytest.fixture
def block(make_columns: Callable[..., Columns]) -> Block:
    lost_and_found = [OTHER, GOLD, OTHER, GOLD, GOLD]
    lost = [GOLD, GOLD, OTHER, GOLD, OTHER]
    return by_hand(make_columns, [lost_and_found, lost, [OTHER] * 5], [GOLD, OTHER, OTHER])


def test_by_hand(block: Block) -> None:
    assert emergence.hit(block).tolist() == [[0, 1, 0, 1, 1], [1, 1, 0, 1, 0], [0] * 5]
    assert emergence.first_hit(block).tolist() == [[0, 1, 1, 1, 1], [1] * 5, [0] * 5]
    assert emergence.stable_hit(block).tolist() == [[0, 0, 0, 1, 1], [0] * 5, [0] * 5]
    assert emergence.settled(block).tolist() == [[0, 0, 0, 1, 1], [0, 0, 0, 0, 1], [1] * 5]
    found = events.events(block, block_length=2)
    assert found.first_hit_step.tolist() == [1, 0, -1] and found.stable_hit_step.tolist() == [
        3,
        -1,
        -1,
    ]
    assert found.settled_step.tolist() == [3, 4, 0]
    assert found.hits_lost.tolist() == [1, 2, 0] and found.guess_changes.tolist() == [3, 3, 0]


def test_a_committed_token_is_the_guess(make_columns: Callable[..., Columns]) -> None:
    block = by_hand(make_columns, [[GOLD] * 4], [OTHER])
    assert emergence.hit(block).tolist() == [[1, 1, 1, 0]]


def test_steps_not_performed_stay_empty_and_lose_nothing(block: Block) -> None:
    performed = block.performed.copy()
    performed[:, 2] = False
    block = replace(block, performed=performed)
    assert (
        np.isnan(emergence.hit(block)[:, 2]).all()
        and np.isnan(emergence.stable_hit(block)[:, 2]).all()
    )
    assert (
        emergence.stable_hit(block)[0].tolist()[1] == 1
    )  # the step without a guess does not interrupt
    assert events.events(block, block_length=2).hits_lost.tolist() == [0, 1, 0]


def test_without_gold_undefined_without_answer_never(make_columns: Callable[..., Columns]) -> None:
    columns = make_columns(2, 4, 4, answer=[[], [GOLD]])
    columns["answer_start"][:], columns["answer_end"][:] = -1, -1
    block = read_block(columns)
    assert np.isnan(emergence.hit(block)[0]).all() and (emergence.hit(block)[1] == 0).all()
    assert np.isnan(emergence.settled(block)).all() and np.isnan(answer.margin(block)).all()
    found = events.events(block, block_length=2)
    assert (
        np.isnan(found.hits_lost[0])
        and found.hits_lost[1] == 0
        and np.isnan(found.guess_changes).all()
    )


@pytest.mark.parametrize("block_length", [4, 8])
def test_commit_order_is_spearmans(make_columns: Callable[..., Columns], block_length: int) -> None:
    block = read_block(make_columns(5, 8, 8, seed=3))
    found = events.events(block, block_length=block_length)
    for row, steps in enumerate(block.commit_step):
        assert found.commit_order[row] == pytest.approx(spearmanr(steps, np.arange(8)).statistic)
        inner = [
            spearmanr(part, np.arange(block_length)).statistic
            for part in steps.reshape(-1, block_length)
        ]
        assert found.commit_order_in_block[row] == pytest.approx(np.mean(inner))


def test_signals_at_the_answer_freeze_and_ignore_gold(make_columns: Callable[..., Columns]) -> None:
    columns = make_columns(1, 4, 4)
    columns["committed"][:] = np.eye(4, dtype=np.uint8)[None]
    columns["answer_start"][:], columns["answer_end"][:] = 1, 3
    block = read_block(columns)
    logprob, margin = columns["logprob"][0].astype(float), columns["margin"][0].astype(float)
    kept = [(step, min(step, 1), min(step, 2)) for step in range(4)]
    np.testing.assert_allclose(answer.confidence(block)[0], [np.exp(logprob[a, 1] + logprob[b, 2])
                                                                for _, a, b in kept])  # fmt: skip
    np.testing.assert_allclose(
        answer.margin(block)[0], [(margin[a, 1] + margin[b, 2]) / 2 for _, a, b in kept]
    )
    np.testing.assert_allclose(answer.lowest_confidence(block)[0],
                               [np.exp(min(logprob[a, 1], logprob[b, 2])) for _, a, b in kept])  # fmt: skip
    before = answer.confidence(block)
    columns["answer_logprob"][:] = -50
    np.testing.assert_array_equal(answer.confidence(read_block(columns)), before)
    masked = [logprob[step, step:].min() for step in range(4)]
    np.testing.assert_allclose(answer.canvas_lowest_confidence(block)[0], np.exp(masked))


def test_table_by_hand(block: Block) -> None:
    happened = events.events(block, block_length=2)._asdict()
    columns = happened | {
        "verdict": np.array([1, 0, 2]),
        "answer_commit_step": np.array([4, 4, -1]),
    }
    found = {name: (float(one.values), one.n) for name, one in emergence_table(columns, 5).items()}
    assert found["emergence/ever_pass"] == (pytest.approx(2 / 3), 3)
    assert found["emergence/pass_lost"] == (pytest.approx(1 / 3), 3)
    assert found["emergence/first_hit_by_50"] == (pytest.approx(2 / 3), 3)
    assert found["emergence/first_hit_by_25"] == (pytest.approx(1 / 3), 3)
    assert found["emergence/stable_hit_by_50"] == (0, 3) and found[
        "emergence/first_hit_by_50_correct"
    ] == (1, 1)
    assert found["emergence/hits_lost"] == (1, 3) and found["emergence/answer_commit_step"] == (
        4,
        2,
    )


def test_a_run_without_gold_is_insufficient(make_run: Callable[..., Any]) -> None:
    from diffengine.analysis.analyze import analyze_run

    run = make_run(12, 8, 8)
    run["verdict"][:], run["answer_token_id"][:] = 3, -1
    found = analyze_run(run)
    assert found["emergence/ever_pass"].status.startswith("insufficient")
    assert found["early_exit/klass_slot/accuracy"].status.startswith("insufficient")
    assert found["emergence/commit_order"].ok
