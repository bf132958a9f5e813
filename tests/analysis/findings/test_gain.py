"""Information gain: paired standard error against brute force, gaps, telescoping."""

from __future__ import annotations

import numpy as np
import pytest

from diffengine.analysis.findings.gain import change, information_gain, value_before


def test_mean_and_paired_error_against_brute_force() -> None:
    rng = np.random.default_rng(1)
    values = np.cumsum(rng.normal(size=(30, 12)), axis=1) + rng.normal(size=(30, 1)) * 10
    gain = information_gain(values)
    for step in range(1, 12):
        differences = [values[row, step] - values[row, step - 1] for row in range(30)]
        assert gain.gain[step] == pytest.approx(values[:, step].mean() - values[:, step - 1].mean())
        assert gain.stderr[step] == pytest.approx(np.std(differences, ddof=1) / 30**0.5)
    assert np.isnan(gain.gain[0]) and gain.n.tolist() == [0] + [30] * 11


def test_paired_error_is_far_below_the_unpaired_one() -> None:
    rng = np.random.default_rng(2)
    values = rng.normal(size=(50, 1)) + 0.01 * rng.normal(size=(50, 2))
    unpaired = np.hypot(*(values[:, step].std(ddof=1) / 50**0.5 for step in (0, 1)))
    assert information_gain(values).stderr[1] < unpaired / 20


def test_gap_is_spanned_and_the_sum_telescopes() -> None:
    values = np.array([[0.1, np.nan, np.nan, 0.7, 0.8], [0.2, np.nan, np.nan, 0.4, 0.9]])
    gain = information_gain(values)
    np.testing.assert_allclose(gain.gain, [np.nan, np.nan, np.nan, 0.4, 0.3], rtol=1e-12)
    assert np.nansum(gain.gain) == pytest.approx(values[:, -1].mean() - values[:, 0].mean())
    np.testing.assert_allclose(gain.after - gain.before, gain.gain)


def test_only_problems_with_both_ends_count() -> None:
    values = np.array([[0.0, 1.0], [np.nan, 5.0], [0.5, 0.5], [np.nan, np.nan]])
    gain = information_gain(values)
    assert gain.gain[1] == 0.5 and gain.n[1] == 2 and gain.before[1] == 0.25


def test_value_before() -> None:
    nan = np.nan
    np.testing.assert_array_equal(
        value_before(np.array([[nan, 1, nan, 2, 3]])), [[nan, nan, 1, 1, 2]]
    )


@pytest.mark.parametrize("shape", [(0, 5), (3, 1), (1, 4), (2, 0)])
def test_small_shapes(shape: tuple[int, int]) -> None:
    gain = information_gain(np.ones(shape))
    assert all(part.shape == shape[1:] for part in gain)


def test_change() -> None:
    nan = np.nan
    values = np.array([[nan, 1.0, 3.0, 7.0], [2.0, nan, nan, nan], [0.0, 2.0, 4.0, 6.0]])
    np.testing.assert_array_equal(change(values), [6.0, nan, 6.0])
    np.testing.assert_array_equal(change(values, share=0.5), [6.0, nan, 4.0])
