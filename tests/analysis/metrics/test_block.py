"""Masks, freezing and the step before, from hand-written commits."""

from __future__ import annotations

import numpy as np

from diffengine.analysis.metrics.block import frozen, mean_where, previous_performed, read_block

COMMITTED = np.array([[[0, 0, 0], [1, 0, 0], [0, 0, 0], [0, 0, 1]]], np.uint8)
PERFORMED = np.array([[1, 1, 0, 1]], np.uint8)


def test_commit_step_and_masked() -> None:
    block = read_block({"committed": COMMITTED, "performed": PERFORMED})
    assert block.commit_step.tolist() == [[1, 4, 3]]
    assert block.masked[0].astype(int).tolist() == [[1, 1, 1], [1, 1, 1], [0, 1, 1], [0, 1, 1]]


def test_frozen_keeps_the_value_of_the_commit_step() -> None:
    values = np.arange(12, dtype=float).reshape(1, 4, 3)
    kept = frozen(values, np.array([[1, 4, 3]]))[0]
    assert kept[:, 0].tolist() == [0, 3, 3, 3]
    assert kept[:, 1].tolist() == [1, 4, 7, 10] and kept[:, 2].tolist() == [2, 5, 8, 11]


def test_at_performed_and_previous() -> None:
    block = read_block({"committed": COMMITTED, "performed": PERFORMED})
    np.testing.assert_array_equal(block.at_performed(np.ones((1, 4))), [[1, 1, np.nan, 1]])
    assert previous_performed(block.performed).tolist() == [[-1, 0, 1, 1]]
    assert previous_performed(np.zeros((2, 1), bool)).tolist() == [[-1], [-1]]


def test_mean_where() -> None:
    values = np.array([[1.0, 2.0, np.nan], [1.0, 2.0, 6.0]], np.float32)
    chosen = np.array([[True, True, False], [False, False, False]])
    np.testing.assert_array_equal(mean_where(values, chosen), [1.5, np.nan])
    assert np.isnan(mean_where(values, np.ones((2, 3), bool))[0])
