"""Entropy means over position groups: constructed values with known means."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from diffengine.analysis.metrics import entropy
from diffengine.analysis.metrics.block import read_block

Columns = dict[str, np.ndarray]


@pytest.fixture
def columns(make_columns: Callable[..., Columns]) -> Columns:
    """Entropy 4 bits while masked, 1 bit once committed: every mean is known from the number of
    masked positions."""
    found = make_columns(4, 8, 8)
    found["entropy"] = np.where(read_block(found).masked, 4.0, 1.0).astype(np.float32)
    return found


def test_groups(columns: Columns) -> None:
    block = read_block(columns)
    masked = columns["n_masked"]
    np.testing.assert_allclose(entropy.over_all(block), (4.0 * masked + (8 - masked)) / 8)
    np.testing.assert_array_equal(entropy.over_masked(block), np.full((4, 8), 4.0))
    committed = entropy.over_committed(block)
    assert np.isnan(committed[:, 0]).all() and (committed[:, 1:] == 1.0).all()


def test_steps_not_performed_are_nan(columns: Columns) -> None:
    columns["performed"][2, 5] = 0
    columns["entropy"][2, 5] = np.nan
    block = read_block(columns)
    for values in (
        entropy.over_all(block),
        entropy.over_masked(block),
        entropy.over_committed(block),
        entropy.at_answer(block),
    ):
        assert np.isnan(values[2, 5]) and np.isfinite(values[2, 6])


def test_at_answer_freezes_and_needs_an_answer(columns: Columns) -> None:
    columns["answer_start"][:], columns["answer_end"][:] = 2, 5
    columns["answer_start"][3] = columns["answer_end"][3] = -1
    values = entropy.at_answer(read_block(columns))
    np.testing.assert_array_equal(values[:3], np.full((3, 8), 4.0))
    assert np.isnan(values[3]).all()


def test_at_answer_does_not_need_a_gold_answer(make_columns: Callable[..., Columns]) -> None:
    block = read_block(make_columns(2, 3, 4, answer=[[], []]))
    assert np.isfinite(entropy.at_answer(block)).all()
