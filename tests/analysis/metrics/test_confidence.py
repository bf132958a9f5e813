"""Confidence against slow twins and hand-made cases: ragged answers, freezing, undefined slots."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import pytest

from diffengine.analysis.metrics import confidence
from diffengine.analysis.metrics.block import SLOT_STATUS, Block, read_block

Columns = dict[str, np.ndarray]
ANSWERS = [[5], [5, 5], [7, 8, 9], [], [1, 2]]


@pytest.fixture
def columns(make_columns: Callable[..., Columns]) -> Columns:
    found = make_columns(5, 6, 8, answer=ANSWERS)
    found["answer_start"] = np.array([7, 2, 5, 3, 7], np.int32)
    found["performed"][1, 3] = 0
    for name in ("answer_logprob",):
        found[name][1, 3] = np.nan
    return found


def slot_twin(columns: Columns, row: int, step: int) -> float:
    tokens = [token for token in columns["answer_token_id"][row] if token >= 0]
    start, positions = columns["answer_start"][row], columns["token"].shape[2]
    if (
        not tokens
        or start < 0
        or start + len(tokens) > positions
        or not columns["performed"][row, step]
    ):
        return math.nan
    total = 0.0
    for j in range(len(tokens)):
        at = step
        while at > 0 and columns["committed"][row, :at, start + j].any():
            at -= 1
        total += float(columns["answer_logprob"][row, at, start + j, j])
    return math.exp(total) * (1 - goes_on_twin(columns, row, step, start + len(tokens)))


def goes_on_twin(columns: Columns, row: int, step: int, behind: int) -> float:
    """p of the token with which the extracted answer goes on behind the gold tokens, where it is
    the best guess."""
    if behind >= min(columns["token"].shape[2], columns["answer_end"][row]):
        return 0.0
    while step > 0 and columns["committed"][row, :step, behind].any():
        step -= 1
    same = columns["prediction"][row, step, behind] == columns["token"][row, -1, behind]
    return math.exp(columns["logprob"][row, step, behind]) if same else 0.0


def test_answer_slot_against_the_twin(columns: Columns) -> None:
    got = confidence.answer_slot(read_block(columns))
    expected = [[slot_twin(columns, row, step) for step in range(6)] for row in range(5)]
    np.testing.assert_allclose(got, expected, rtol=1e-6)
    assert np.isnan(got[3]).all() and np.isnan(got[4]).all() and np.isnan(got[1, 3])
    assert read_block(columns).slot_status.tolist() == [0, 0, 0, 1, 3]


def test_per_token_is_the_geometric_mean(columns: Columns) -> None:
    block = read_block(columns)
    joint, each = confidence.answer_slot(block), confidence.answer_slot_per_token(block)
    np.testing.assert_allclose(each[2], joint[2] ** (1 / 3), rtol=1e-12)
    np.testing.assert_allclose(each[0], joint[0], rtol=1e-12)


def test_no_extracted_answer_is_undefined(columns: Columns) -> None:
    columns["answer_start"][0] = -1
    assert np.isnan(confidence.answer_slot(read_block(columns))[0]).all()
    assert SLOT_STATUS[read_block(columns).slot_status[0]] == "no_answer_extracted"


def test_what_the_model_says_after_the_commit_is_not_used(columns: Columns) -> None:
    before = confidence.answer_slot(read_block(columns))[0]
    commit = int(columns["committed"][0, :, 7].argmax())
    columns["answer_logprob"][0, commit + 1 :, 7] = -40.0
    np.testing.assert_array_equal(confidence.answer_slot(read_block(columns))[0], before)
    columns["answer_logprob"][0, commit, 7] = -40.0
    assert (confidence.answer_slot(read_block(columns))[0] != before).any()


@pytest.mark.parametrize("method", ["softmax_sum", "max_prob", "mean_prob"])
def test_seed_methods_against_loops(columns: Columns, method: str) -> None:
    got = getattr(confidence, method)(read_block(columns))
    reduce: dict[str, Callable[[list[float]], float]] = {
        "softmax_sum": sum,
        "max_prob": max,
        "mean_prob": lambda p: sum(p) / len(p),
    }
    for row, tokens in enumerate(ANSWERS):
        for step in range(6):
            p = [
                math.exp(columns["answer_logprob"][row, step, pos, j])
                for pos in range(8)
                for j in range(len(tokens))
            ]
            if not tokens or (row, step) == (1, 3):
                assert math.isnan(got[row, step])
            else:
                assert got[row, step] == pytest.approx(reduce[method](p), rel=1e-6)


def test_nothing_is_clamped(make_columns: Callable[..., Columns]) -> None:
    columns = make_columns(1, 2, 8)
    columns["answer_logprob"][:] = np.log(0.9)
    assert confidence.softmax_sum(read_block(columns))[0, 0] == pytest.approx(7.2)


def test_no_gold_answer_anywhere(make_columns: Callable[..., Columns]) -> None:
    block: Block = read_block(make_columns(3, 4, 5, answer=[[], [], []]))
    for method in ("answer_slot", "answer_slot_per_token", "softmax_sum", "max_prob", "mean_prob"):
        values = getattr(confidence, method)(block)
        assert values.shape == (3, 4) and np.isnan(values).all()
