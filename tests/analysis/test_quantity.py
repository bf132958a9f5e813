"""The one builder of quantities over problems, against means and shares by hand."""

from __future__ import annotations

import numpy as np
import pytest

from diffengine.analysis.means import MeanOverBlocks
from diffengine.analysis.quantity import Quantity
from diffengine.analysis.shares import wilson

VALUES = np.array([[1.0, np.nan], [2.0, np.nan], [6.0, 5.0]])


def test_a_mean_over_problems() -> None:
    quantity = Quantity.over_problems(VALUES, units="bits", label="x", missing="nothing")
    assert (quantity.dims, quantity.units, quantity.label) == (("step",), "bits", "x")
    assert quantity.values.tolist() == [3.0, 5.0]
    assert np.asarray(quantity.n).tolist() == [3, 1]
    assert quantity.stderr is not None and quantity.stderr[0] == pytest.approx((7 / 3) ** 0.5)
    assert np.isnan(quantity.stderr[1]) and quantity.ok


def test_a_single_number() -> None:
    quantity = Quantity.over_problems(VALUES[:, 0], units="bits", label="x", missing="nothing")
    assert (quantity.dims, quantity.n, float(quantity.values)) == ((), 3, 3.0)
    assert isinstance(quantity.n, int)


def test_a_mean_made_block_by_block_is_the_same() -> None:
    blocks = MeanOverBlocks((2,))
    blocks.add(VALUES[:1])
    blocks.add(VALUES[1:])
    merged = Quantity.of_mean(blocks.result(), units="bits", label="x", missing="nothing")
    whole = Quantity.over_problems(VALUES, units="bits", label="x", missing="nothing")
    np.testing.assert_allclose(merged.values, whole.values)
    np.testing.assert_array_equal(merged.n, whole.n)


def test_a_share_has_an_interval_and_no_error() -> None:
    quantity = Quantity.share_of_problems(
        np.array([[1.0, np.nan], [0.0, np.nan]]), label="x", missing="nothing"
    )
    assert quantity.stderr is None and quantity.interval is not None
    assert quantity.values[0] == 0.5 and np.isnan(quantity.values[1])
    assert tuple(quantity.interval[:, 0]) == pytest.approx(wilson(1, 2))
    assert quantity.ok


@pytest.mark.parametrize("values", [np.full((3, 2), np.nan), np.zeros((0, 2)), np.zeros(0)])
def test_without_a_value_it_says_why(values: np.ndarray) -> None:
    mean = Quantity.over_problems(values, units="1", label="x", missing="no such problem")
    share = Quantity.share_of_problems(values, label="x", missing="no such problem")
    assert mean.status == share.status == "insufficient: no such problem"
    assert not mean.ok and not share.ok


def test_a_status_is_replaced_for_a_reason_only() -> None:
    quantity = Quantity.over_problems(VALUES, units="bits", label="x", missing="nothing")
    assert quantity.insufficient("") is quantity
    assert quantity.insufficient("why").status == "insufficient: why"
