"""CKA trajectories are read from the recorded matrix at the right places."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from diffengine.analysis.metrics import cka
from diffengine.analysis.metrics.block import read_block

Columns = dict[str, np.ndarray]


def test_places(make_columns: Callable[..., Columns]) -> None:
    columns = make_columns(3, 5, 5)
    block = read_block(columns)
    matrix = columns["cka"]
    expected = np.stack([matrix[:, step, step - 1] for step in range(1, 5)], axis=1)
    np.testing.assert_array_equal(cka.consecutive(block)[:, 1:], expected)
    assert np.isnan(cka.consecutive(block)[:, 0]).all()
    np.testing.assert_array_equal(cka.to_final(block), matrix[:, :, 4])


def test_steps_not_performed(make_columns: Callable[..., Columns]) -> None:
    columns = make_columns(1, 5, 5)
    columns["performed"][0] = [1, 1, 0, 1, 0]
    columns["cka"][0, [2, 4]] = columns["cka"][0, :, [2, 4]] = np.nan
    block, matrix = read_block(columns), columns["cka"][0]
    nan = np.nan
    np.testing.assert_array_equal(
        cka.consecutive(block)[0], [nan, matrix[1, 0], nan, matrix[3, 1], nan]
    )
    np.testing.assert_array_equal(
        cka.to_final(block)[0], [matrix[0, 3], matrix[1, 3], nan, matrix[3, 3], nan]
    )
    assert np.isnan(cka.consecutive_masked(block)[0, 2]) and np.isfinite(
        cka.consecutive_committed(block)[0, 3]
    )


def test_one_step(make_columns: Callable[..., Columns]) -> None:
    block = read_block(make_columns(2, 1, 4))
    assert np.isnan(cka.consecutive(block)).all() and cka.to_final(block).shape == (2, 1)
